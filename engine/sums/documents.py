"""What pods sign in a sum, checked by whoever receives it.

Rule to keep: a document counts only with the key that the job gives its pod, and for this job.
"""

from collections.abc import Sequence

from podsql.engine.sums.job import HASH_BYTES, Job
from podsql.errors import Error, error
from podsql.message import Signed
from podsql.messages import decode_as
from podsql.relay.signing import verify
from podsql.sum_messages import SumKey, SumList


def read_keys(job: Job, documents: Sequence[Signed]) -> dict[str, SumKey]:
    """What each member signed of its job key. All are needed, so that no two pods can be told of different ones."""
    if len(documents) != len(job.members):
        raise _wrong("the keys of a job are not those of all its pods")
    keys = {
        name: read_key(job, name, document)
        for name, document in zip(job.members, documents, strict=True)
    }
    if len({told.key for told in keys.values()}) != len(keys):
        raise _wrong("two pods of a job have one key")
    return keys


def read_key(job: Job, pod: str, document: Signed) -> SumKey:
    """What ``pod`` signed of its job key."""
    told = decode_as(SumKey, verify(document, "sum-key", job.identities[pod]))
    if told.job != job.digest:
        raise error("REPLAY", f"the key of {pod!r} is of another job")
    if told.pod != pod or len(told.key) != HASH_BYTES:
        raise _wrong(f"the key of {pod!r} is not one")
    return told


def read_list(job: Job, number: int, pod: str, document: Signed) -> SumList:
    """The list of survivors that ``pod`` signed in round ``number``."""
    told = decode_as(SumList, verify(document, "sum-list", job.identities[pod]))
    if told.job != job.digest or told.round != number:
        raise error("REPLAY", f"the list of {pod!r} is of another round")
    return told


def signers(job: Job, documents: Sequence[Signed]) -> list[str]:
    """Whose documents they are: members, none twice."""
    names = {identity: name for name, identity in job.identities.items()}
    found = [names.get(document.signer) for document in documents]
    known = [name for name in found if name is not None]
    if len(known) != len(documents) or len(set(known)) != len(known):
        raise _wrong("a list has a stranger's signature, or one pod's twice")
    return known


def _wrong(what: str) -> Error:
    return error("BAD_MESSAGE", what)
