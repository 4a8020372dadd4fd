"""Cells of a sum: two's complement integers of 64 or 128 bits, in one or two lanes of 64.

An array of shape (lanes, cells), the low lane first. Rule to keep: arithmetic is exact modulo
2^64 or 2^128, in cells of either sign, whatever the order of addition.
"""

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]
BLOCK: Final = 16_384
"""Cells that are worked on at once: what they need stays in a core's cache."""
_MOST_CARRIES: Final = 127


def zero_words(word: int, cells: int) -> Words:
    """Cells of ``word`` bits, all zero."""
    return np.zeros((word // 64, cells), dtype="<u8")


def words_of_bytes(vector: bytes, word: int) -> Words:
    """Cells as they travel, not copied; ``vector`` holds whole ones."""
    return np.frombuffer(vector, dtype="<u8").reshape(word // 64, -1)


class Adding:
    """Adds lanes to one block of cells, and carries once, at the end (or every 127 additions)."""

    def __init__(self, block: Words) -> None:
        self._block = block
        self._wide = len(block) == 2
        self._over = np.empty(block.shape[1], dtype=np.bool_)
        self._carries = np.zeros(block.shape[1], dtype=np.int8)
        self._most = 0

    def add(self, lanes: Words) -> None:
        """Add a cell to each."""
        low = self._block[0]
        np.add(low, lanes[0], out=low)
        if self._wide:
            np.less(low, lanes[0], out=self._over)
            np.add(self._carries, self._over.view(np.int8), out=self._carries)
            np.add(self._block[1], lanes[1], out=self._block[1])
            self._counted()

    def subtract(self, lanes: Words) -> None:
        """Subtract a cell from each."""
        low = self._block[0]
        if self._wide:
            np.less(low, lanes[0], out=self._over)
            np.subtract(self._carries, self._over.view(np.int8), out=self._carries)
            np.subtract(self._block[1], lanes[1], out=self._block[1])
            self._counted()
        np.subtract(low, lanes[0], out=low)

    def carry(self) -> None:
        """Bring the carries into the high lane: only then are the cells right."""
        if self._wide:
            # A borrow is -1, which two's complement adds as 2^64 - 1.
            np.add(
                self._block[1], self._carries.astype(np.int64).view(np.uint64), out=self._block[1]
            )
            self._carries[:] = 0
        self._most = 0

    def _counted(self) -> None:
        self._most += 1
        if self._most == _MOST_CARRIES:
            self.carry()


def add_words(total: Words, words: Words) -> None:
    """Add ``words`` to ``total``, in place."""
    for at in range(0, total.shape[1], BLOCK):
        block = Adding(total[:, at : at + BLOCK])
        block.add(words[:, at : at + BLOCK])
        block.carry()
