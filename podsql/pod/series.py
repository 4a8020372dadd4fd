"""Rounds of a noisy model at the ledger: a series is paid for once, each of its rounds leaves once.

A round that was released is released again, byte for byte, to whoever asks the same; the same round of
the series at other coefficients is refused, since its noise would be a second one for one price.
Rule to keep: what leaves is what is on the ledger, also where two ask at once.
"""

from hashlib import blake2b

import msgspec

from podsql.errors import error
from podsql.policy.ledger.store import Ledger
from podsql.policy.noisy_models import Series


class _Left(msgspec.Struct, frozen=True, array_like=True):
    state: bytes
    body: bytes


def round_left(ledger: Ledger, paid: bytes, series: Series) -> bytes | None:
    """What left as this round of the series that ``paid`` names; CONFLICT if it was at another state."""
    found = ledger.answer(_mark(paid, series))
    if found is None:
        return None
    left = msgspec.msgpack.decode(found, type=_Left)
    if left.state != series.state:
        raise error(
            "CONFLICT",
            "this round of the model was released at other coefficients before",
            hint="WITH (fresh = true) trains it anew, at a new price",
        )
    return left.body


def keep_round(ledger: Ledger, paid: bytes, series: Series, body: bytes) -> bytes:
    """Keep ``body`` as the round, unless one was kept before; what is kept, which alone may leave."""
    ledger.keep_answer(_mark(paid, series), msgspec.msgpack.encode(_Left(series.state, body)))
    left = round_left(ledger, paid, series)
    assert left is not None
    return left


def _mark(paid: bytes, series: Series) -> bytes:
    parts = (paid, series.number)
    return blake2b(msgspec.msgpack.encode(parts), digest_size=32, person=b"ps-noisy-round").digest()
