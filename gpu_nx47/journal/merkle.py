"""The Merkle tree of RFC 6962: pure functions from bytes to hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from gpu_nx47.spread import spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAF: Final = b"\x00"
NODE: Final = b"\x01"
"""Leaves and nodes are hashed under different first bytes: else a node could be passed off as a leaf."""


def leaf_hash(data: bytes) -> bytes:
    """Return SHA-256(0x00 || data)."""
    return hashlib.sha256(LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 || left || right)."""
    return hashlib.sha256(NODE + left + right).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes.

    Notes
    -----
    The RFC splits n leaves at the largest power of two below n. Joining neighbours level by level, an odd last one
    going up as it is, gives the same tree without recursion. Of no leaves: SHA-256 of nothing.

    References
    ----------
    RFC 6962, section 2.1 (RFC 9162, section 2.1.1).
    """
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        joined = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = [*joined, level[-1]] if len(level) % 2 else joined
    return level[0]


class GrowingTree:
    """The tree over leaves that come one by one, in memory that grows with the logarithm of their number.

    Notes
    -----
    n leaves make one perfect subtree for each bit set in n, the largest on the left; a new leaf joins equals as a carry
    runs through a counter. The root joins what is there from the right: the split of the RFC.
    """

    def __init__(self) -> None:
        self.size = 0
        """Leaves so far."""
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Take the next leaf hash."""
        carry, rest = leaf, self.size
        while rest & 1:
            carry = node_hash(self._peaks.pop(), carry)
            rest >>= 1
        self._peaks.append(carry)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over the leaves so far."""
        if not self._peaks:
            return tree_root(())
        *left, joined = self._peaks
        for peak in reversed(left):
            joined = node_hash(peak, joined)
        return joined


def slice_hashes(array: NDArray, threads: int = 1) -> list[bytes]:
    """Return one leaf hash for each slice along the first axis (z): 0x00, then its bytes in C order, little-endian.

    Parameters
    ----------
    array : numpy.ndarray (z, ...)
    threads : int
        Slices hashed at once.

    Raises
    ------
    ValueError
        The array has no axis to slice, or holds objects.
    """
    if array.ndim == 0 or array.dtype.hasobject:
        raise ValueError(f"a digest needs an array of numbers with slices, got {array.dtype} of shape {array.shape}")
    little = array.dtype.newbyteorder("<")

    def leaf(part: NDArray) -> bytes:
        hasher = hashlib.sha256(LEAF)
        # A view of the bytes: no copy where the slice is contiguous already.
        hasher.update(np.ascontiguousarray(part, little).reshape(-1).view(np.uint8).data)
        return hasher.digest()

    def some(run: range) -> list[bytes]:
        return [leaf(array[z]) for z in run]

    # Hashing lets go of the interpreter.
    return [hashed for part in spread(len(array), some, threads, "nx47-hash") for hashed in part]


def array_digest(array: NDArray) -> str:
    """Return the tree root, in hex, with one leaf a z slice, so that one slice can be checked alone.

    Shape and type are not in it: ARRAY_TRACE names them beside.
    """
    return tree_root(slice_hashes(array)).hex()
