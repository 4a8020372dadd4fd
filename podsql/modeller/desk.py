"""What a modeller answers its analysts: it takes orders, and says how far they are.

Rule to keep: an analyst hears of own jobs only; whoever is not on the list gets one refusal, whatever
was asked, and the log says who it was and nothing of what was in it.
"""

import logging
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from podsql.analyst.training.shelf import checked_name
from podsql.errors import Error, error
from podsql.job_messages import JobAsk, JobOrder, JobReply
from podsql.message import Message
from podsql.messages import Failed, decode, encode
from podsql.modeller.config import Section
from podsql.modeller.orders import MOST_KEPT, Orders, Work
from podsql.policy.delegations import read_delegation
from podsql.relay.cards import Card

log = logging.getLogger("podsql.modeller")

JOBS_SHOWN: Final = MOST_KEPT
LINES_SHOWN: Final = 2000
REPLY_BYTES: Final = 1 << 20


class ModellerDesk:
    """Any thread, one at a time. ``woken`` runs when a job may have become due."""

    def __init__(
        self,
        *,
        identity: bytes,
        federation: str,
        config: Section,
        orders: Orders,
        woken: Callable[[Work], None],
        clock: Callable[[], int],
    ) -> None:
        self._identity = identity
        self._federation = federation
        self._config = config
        self._orders = orders
        self._woken = woken
        self._clock = clock

    def answer(self, peer: Card, body: bytes) -> bytes:
        """The reply to ``body`` from ``peer``."""
        try:
            if not self._config.serves(peer):
                raise error(
                    "DENIED",
                    "the modeller does not work for you",
                    hint="whoever runs it names its analysts in modeller.toml",
                )
            reply = encode(self._done(peer, decode(body)))
            if len(reply) > REPLY_BYTES:
                raise error("RESULT_TOO_BIG", "the model is too large to be sent")
            return reply
        except Error as fault:
            log.warning("refused %s %s: %s", peer.role, peer.name, fault.code)
            return encode(Failed(fault.code, fault.message, fault.hint))
        except Exception:
            log.exception("a question of %s %s failed", peer.role, peer.name)
            return encode(Failed("INTERNAL", "the modeller failed; its log says why"))

    def _done(self, peer: Card, message: Message) -> JobReply:
        match message:
            case JobOrder():
                return _told(self._take(peer, message))
            case JobAsk(act="list"):
                return _told(*self._orders.of(peer)[-JOBS_SHOWN:])
            case JobAsk():
                return self._asked(message, self._orders.get(peer, message.job))
        raise error("BAD_MESSAGE", "a modeller takes no such message")

    def _take(self, peer: Card, message: JobOrder) -> Work:
        now = self._clock()
        told = read_delegation(message.delegation, modeller=self._identity, now=now)
        if told.analyst != peer.identity:
            raise error("SIGNATURE", "an order is signed by another analyst than who sends it")
        self._orders.sweep(self._config.keep_days, now)
        mine = self._orders.of(peer)
        known = any(work.told.job == told.job for work in mine)
        if not known and sum(not work.job.over for work in mine) >= self._config.queue:
            raise error(
                "BUSY", f"{self._config.queue} jobs of yours have not ended", hint="SHOW JOBS"
            )
        work = self._orders.add(message, told, self._federation, now)
        log.info("job %s of %s: ordered", work.id, peer.name)
        self._woken(work)
        return work

    def _asked(self, message: JobAsk, work: Work) -> JobReply:
        jobs = work.bench.jobs
        match message.act:
            case "log":
                found = jobs.lines(work.id)[-LINES_SHOWN:]
                return replace(_told(work), lines=tuple(map(msgspec.json.encode, found)))
            case "model":
                kept = work.bench.shelf.get(checked_name(work.job.model))
                return replace(_told(work), model=msgspec.json.encode(kept))
            case "cancel" if not work.job.over:
                jobs.cancel(work.id, self._clock())
            case "resume" if not work.job.over:
                self._woken(work)
        return _told(work)


def _told(*found: Work) -> JobReply:
    return JobReply(
        records=tuple(_shown(work) for work in found),
        orders=tuple(work.order.delegation for work in found),
    )


def _shown(work: Work) -> bytes:
    """The record without what its analyst knows or cannot use."""
    job = replace(work.job, statement="", parameters=(), columns=(), start=(), checkpoint=b"")
    return msgspec.json.encode(job)
