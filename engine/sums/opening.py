"""The coordinator takes the masks off a sum, with the shares that a quorum of pods showed.

Rule to keep: every seed is checked against what its pod said of it before, so that a wrong share
ends the round with a pod's name and never gives a wrong sum.
"""

from collections.abc import Mapping
from typing import NoReturn

from podsql.engine.sums.job import Job
from podsql.engine.sums.masks import add_masks
from podsql.engine.sums.quorum import neighbours
from podsql.engine.sums.seeds import pair_mask, tag, unseal
from podsql.engine.sums.shamir import SEED_BYTES, SHARE_BYTES, Interpolation
from podsql.engine.sums.words import Words
from podsql.errors import error
from podsql.sum_messages import SumDeal, SumList, SumOpening


def require_whole(told: SumOpening, listed: SumList) -> None:
    """BAD_MESSAGE unless ``told`` has a share for each pod of the list."""
    shares = (*told.alive, *told.missing)
    whole = (len(told.alive), len(told.missing)) == (len(listed.alive), len(listed.missing))
    if not whole or any(len(share) != SHARE_BYTES for share in shares):
        raise error("BAD_MESSAGE", "a pod shows other shares than its list says")


def unmask(
    total: Words,
    job: Job,
    listed: SumList,
    *,
    deals: Mapping[str, SumDeal],
    openings: Mapping[str, SumOpening],
    asked: bytes,
) -> None:
    """Take the masks of ``listed`` off ``total``, in place; BAD_MESSAGE if a seed is not right.

    ``openings`` are of ``job.quorum`` pods; ``asked``: what all of ``listed`` answer.
    """
    shown = {job.places[pod]: told for pod, told in openings.items()}
    interpolation = Interpolation(list(shown))
    # What a pod added is taken away, and the other way round.
    added: list[bytes] = []
    taken: list[bytes] = []
    for at, pod in enumerate(listed.alive):
        seed = interpolation.secret({place: told.alive[at] for place, told in shown.items()})
        if seed is None or tag(seed) != deals[pod].self_tag:
            _refuse(f"the shares of the self-mask of {pod!r} do not fit")
        taken.append(seed)
    for at, pod in enumerate(listed.missing):
        key = interpolation.secret({place: told.missing[at] for place, told in shown.items()})
        seeds = _unbundled(job, pod, deals[pod], key)
        for other in neighbours(listed.alive, pod):
            seed = seeds[other]
            _require_tag(job, seed, deals[other], of=other, among=pod)
            (taken if other < pod else added).append(pair_mask(seed, asked))
    add_masks(total, plus=added, minus=taken)


def _unbundled(job: Job, pod: str, deal: SumDeal, key: bytes | None) -> dict[str, bytes]:
    """The seeds of a missing pod's pair masks, by the other of the pair."""
    others = neighbours(job.members, pod)
    body = None if key is None else unseal(key, deal.bundle)
    if body is None or len(body) != SEED_BYTES * len(others):
        _refuse(f"the pair masks of the missing {pod!r} do not open")
    return {other: body[SEED_BYTES * at : SEED_BYTES * (at + 1)] for at, other in enumerate(others)}


def _require_tag(job: Job, seed: bytes, deal: SumDeal, *, of: str, among: str) -> None:
    """``seed`` is what the survivor ``of`` masked its cells with against ``among``."""
    if deal.pair_tags[neighbours(job.members, of).index(among)] != tag(seed):
        _refuse(f"{of!r} and the missing {among!r} do not have one pair mask")


def _refuse(what: str) -> NoReturn:
    raise error("BAD_MESSAGE", what)
