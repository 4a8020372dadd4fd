"""Masks: seeds expanded to uniform cells by ChaCha20 (RFC 8439), added and subtracted.

The low lanes are the keystream under nonce 0, the high ones under nonce 1, from block 0 on. Rule to
keep: a mask depends on its seed and the number of cells alone, so both ends of a pair have the same.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms

from podsql.engine.sums.seeds import stream_key
from podsql.engine.sums.words import BLOCK, Adding, Words

CELL_LIMIT: Final = 2**35
"""ChaCha20 counts blocks of 8 cells of a lane in 32 bits."""
_ZEROS: Final = memoryview(bytes(8 * BLOCK))


def add_masks(words: Words, *, plus: Iterable[bytes], minus: Iterable[bytes]) -> None:
    """Add the masks of the seeds ``plus`` to ``words`` and subtract those of ``minus``, in place."""
    lanes, cells = words.shape
    added = [_streams(seed, lanes) for seed in plus]
    taken = [_streams(seed, lanes) for seed in minus]
    room: Words = np.empty((lanes, BLOCK), dtype="<u8")
    for at in range(0, cells, BLOCK):
        block = Adding(words[:, at : at + BLOCK])
        mask = room[:, : cells - at]
        for streams in added:
            _fill(mask, streams)
            block.add(mask)
        for streams in taken:
            _fill(mask, streams)
            block.subtract(mask)
        block.carry()


def _streams(seed: bytes, lanes: int) -> list[CipherContext]:
    """One keystream a lane."""
    key = stream_key(seed)
    # cryptography's nonce: 4 bytes of block counter, then RFC 8439's 12 of nonce.
    return [
        Cipher(algorithms.ChaCha20(key, lane.to_bytes(16)), mode=None).encryptor()
        for lane in range(lanes)
    ]


def _fill(mask: Words, streams: Sequence[CipherContext]) -> None:
    """The next cells of a mask."""
    for lane, stream in zip(mask, streams, strict=True):
        stream.update_into(_ZEROS[: lane.nbytes], lane.view(np.uint8).data)
