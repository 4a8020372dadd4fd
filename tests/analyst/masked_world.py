"""What tests of secure sums through real pods share: pods with other files, what the analyst sees."""

from contextlib import contextmanager

import numpy as np
import pytest
from msgspec.structs import replace

import podsql
from podsql.engine.sums.doubles import to_cells
from podsql.errors import error
from podsql.messages import decode
from podsql.pod.config import PodSection, SumsSection
from podsql.pod.daemon import Pod


def restart(federation, *names, **sections):
    """These pods are stopped and come back, with their files changed."""
    for name in names:
        old = federation.pods[name]
        old.stop()
        config = replace(old.config, pod=PodSection(), **sections)
        pod = federation.pods[name] = Pod(config, old.place, old.membership)
        pod.start()


@contextmanager
def configured(federation, *names, **sums):
    """These pods have these lines in ``[sums]``, for a while."""
    restart(federation, *names, sums=SumsSection(**sums))
    try:
        yield
    finally:
        restart(federation, *names, sums=SumsSection())


@contextmanager
def of_file(federation, *names, **sums):
    """The same without a restart."""
    known = {name: federation.pods[name].desk._summing for name in names}
    before = {name: one._terms for name, one in known.items()}
    for one in known.values():
        one._terms = SumsSection(**sums)
    try:
        yield
    finally:
        for name, one in known.items():
            one._terms = before[name]


@contextmanager
def severed(con, pod, kind=None, *, after=False, when=lambda: True):
    """``pod`` is lost from the first message of ``kind`` on: neither that nor a later one reaches it; or,
    ``after``, that one does and its answer is lost. The list of what was sent to pods meanwhile."""
    endpoint = con.federation.endpoint
    call = endpoint.call
    sent, gone = [], []

    def cut(to, body, *, timeout, on_reply):
        message = decode(body if isinstance(body, bytes) else body(bytes(32)))
        sent.append(message)
        if to.name != pod or not (gone or (when() and (kind is None or isinstance(message, kind)))):
            return call(to, body, timeout=timeout, on_reply=on_reply)

        def lost(_=None):
            on_reply(error("POD_LOST", "the pod is gone"))

        gone.append(message)
        if after and len(gone) == 1:
            return call(to, body, timeout=timeout, on_reply=lost)
        return lost()

    endpoint.call = cut
    try:
        yield sent
        assert gone
    finally:
        endpoint.call = call


@contextmanager
def watched(con):
    """What the analyst asks and is answered meanwhile, pod by pod: (pod, message, reply)."""
    listed = []
    endpoint = con.federation.endpoint
    call = endpoint.call

    def listening(to, body, *, timeout, on_reply):
        def replied(reply):
            sent = body if isinstance(body, bytes) else body(bytes(32))
            listed.append((to.name, decode(sent), reply))
            on_reply(reply)

        return call(to, body, timeout=timeout, on_reply=replied)

    endpoint.call = listening
    try:
        yield listed
    finally:
        endpoint.call = call


def failing(con, text, code):
    """The error with which ``text`` ends."""
    with pytest.raises(podsql.Error) as caught:
        con.execute(text)
    assert caught.value.code == code, str(caught.value)
    return caught.value


def forms_of(figure):
    """How a figure may stand in bytes: as a double, or as cells of a sum."""
    yield np.array([figure], dtype="<f8").tobytes()
    for cell in to_cells([figure]):
        if cell.bit_length() > 40:
            yield (cell % 2**64).to_bytes(8, "little")


def numbers_in(value):
    """Every number that stands in a message or document of its own."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from numbers_in(one)
    elif hasattr(value, "__struct_fields__"):
        for name in value.__struct_fields__:
            yield from numbers_in(getattr(value, name))
