"""A mask as bits, 64 voxels of a row in a word: what a step of a mask costs is the memory that it reads.

Bit k of word j of a row is the voxel x = 64 j + k; bits beyond the row are 0. The machine is little-endian, as all are
that Numba and CUDA run on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cpu_fallback.twin._jit import clear_row, compiled, copy_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WORD: Final = 64
AS_IT_IS: Final = np.uint64(0)
TURNED: Final = np.uint64(2**64 - 1)
_FALSE: Final = ir.Constant(ir.IntType(1), 0)
_LANES: Final = ir.VectorType(ir.IntType(8), WORD)
_CODES: Final = ir.VectorType(ir.IntType(16), WORD)
_FLAGS: Final = ir.VectorType(ir.IntType(1), WORD)


def _instruction(build: Callable[..., Any]) -> Any:
    return intrinsic(build)


def _vector_at(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    start = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    return builder.bitcast(start, vector.as_pointer())


@_instruction
def set_of(_typing: Any, flat: Any, index: Any) -> Any:
    """Return a word: which of 64 bytes of a flat array, from an index on, are not 0; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array, at = given
        lanes = builder.load(_vector_at(context, builder, signature.args[0], array, at, _LANES), align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", lanes, ir.Constant(_LANES, [0] * WORD)), ir.IntType(64))

    return types.uint64(flat, types.uint64), generate


@_instruction
def _reaching(_typing: Any, flat: Any, index: Any, least: Any) -> Any:
    """Return a word: which of 64 uint16 of a flat array, from an index on, are at least `least`; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array, at, least = given
        codes = builder.load(_vector_at(context, builder, signature.args[0], array, at, _CODES), align=2)
        first = builder.insert_element(ir.Constant(_CODES, ir.Undefined), least, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), WORD), [0] * WORD)
        all_of_them = builder.shuffle_vector(first, ir.Constant(_CODES, ir.Undefined), lanes)
        return builder.bitcast(builder.icmp_unsigned(">=", codes, all_of_them), ir.IntType(64))

    return types.uint64(flat, types.uint64, types.uint16), generate


@_instruction
def _put(_typing: Any, word: Any, flat: Any, index: Any) -> Any:
    """Write the bits of a word as 64 bytes of 0 or 1 to a flat array, from an index on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        word, array, at = given
        lanes = builder.zext(builder.bitcast(word, _FLAGS), _LANES)
        builder.store(lanes, _vector_at(context, builder, signature.args[1], array, at, _LANES), align=1)
        return context.get_dummy_value()

    return types.none(types.uint64, flat, types.uint64), generate


@_instruction
def ones(_typing: Any, word: Any) -> Any:
    """Return how many bits of a word are set."""
    return types.uint64(types.uint64), lambda _context, builder, _signature, given: builder.ctpop(given[0])


@_instruction
def _lowest(_typing: Any, word: Any) -> Any:
    """Return the place of the lowest set bit of a word that has one."""
    return types.uint64(types.uint64), lambda _context, builder, _signature, given: builder.cttz(given[0], _FALSE)


def packed(rows: NDArray[np.uint8], flip: np.uint64 = AS_IT_IS, beyond: int = 0) -> NDArray[np.uint64]:
    """Return rows of bytes as bits, set where a byte is not 0 (if TURNED: where it is); so many words of 0 follow."""
    bits = np.empty((rows.shape[0], -(-rows.shape[1] // WORD) + beyond), np.uint64)
    _pack(rows, flip, np.zeros(WORD, np.uint8), bits)
    return bits


@compiled
def _pack(rows: NDArray[np.uint8], flip: np.uint64, rest: NDArray[np.uint8], bits: NDArray[np.uint64]) -> None:
    width = rows.shape[1]
    whole, beyond = width // WORD, width % WORD
    flat = rows.reshape(-1)
    inside = (np.uint64(1) << np.uint64(beyond)) - np.uint64(1)
    for r in range(rows.shape[0]):
        for j in range(whole):
            bits[r, j] = set_of(flat, np.uint64(r * width + WORD * j)) ^ flip
        if beyond:
            copy_row(rows[r, WORD * whole :], rest)
            bits[r, whole] = (set_of(rest, np.uint64(0)) ^ flip) & inside
        clear_row(bits[r, whole + (beyond > 0) :])


def at_least(codes: NDArray[np.uint16], least: np.uint16) -> NDArray[np.uint64]:
    """Return rows of bits: set where a code is `least` or more."""
    bits = np.empty((codes.shape[0], -(-codes.shape[1] // WORD)), np.uint64)
    _compare(codes, least, np.zeros(WORD, np.uint16), bits)
    return bits


@compiled
def _compare(codes: NDArray[np.uint16], least: np.uint16, rest: NDArray[np.uint16], bits: NDArray[np.uint64]) -> None:
    width = codes.shape[1]
    whole, beyond = width // WORD, width % WORD
    flat = codes.reshape(-1)
    inside = (np.uint64(1) << np.uint64(beyond)) - np.uint64(1)
    for r in range(codes.shape[0]):
        for j in range(whole):
            bits[r, j] = _reaching(flat, np.uint64(r * width + WORD * j), least)
        if beyond:
            copy_row(codes[r, WORD * whole :], rest)
            bits[r, whole] = _reaching(rest, np.uint64(0), least) & inside


def unpack(bits: NDArray[np.uint64], flip: np.uint64, rows: NDArray[np.uint8]) -> None:
    """Write rows of bits to rows of voxels, each the other way round if TURNED."""
    _unpack(bits, flip, np.empty(WORD, np.uint8), rows)


@compiled
def _unpack(bits: NDArray[np.uint64], flip: np.uint64, rest: NDArray[np.uint8], rows: NDArray[np.uint8]) -> None:
    width = rows.shape[1]
    whole, beyond = width // WORD, width % WORD
    flat = rows.reshape(-1)
    for r in range(rows.shape[0]):
        for j in range(whole):
            _put(bits[r, j] ^ flip, flat, np.uint64(r * width + WORD * j))
        if beyond:
            _put(bits[r, whole] ^ flip, rest, np.uint64(0))
            copy_row(rest[:beyond], rows[r, WORD * whole :])


@compiled
def count_runs(bits: NDArray[np.uint64], first: NDArray[np.int64]) -> None:
    """Sum up in `first[r + 1]` the runs of set bits in rows 0 to r."""
    for r in range(bits.shape[0]):
        carry, starts = np.uint64(0), np.uint64(0)
        for j in range(bits.shape[1]):
            word = bits[r, j]
            starts += ones(word & ~(word << np.uint64(1) | carry))
            carry = word >> np.uint64(63)
        first[r + 1] = first[r] + np.int64(starts)


@compiled
def find_runs(bits: NDArray[np.uint64], width: int, first: NDArray[np.int64], edges: NDArray[Any]) -> None:
    """Write where each run begins and where it has ended."""
    for r in range(bits.shape[0]):
        at, end = 2 * first[r], 2 * first[r + 1]
        if at == end:
            continue
        carry = np.uint64(0)
        for j in range(bits.shape[1]):
            word = bits[r, j]
            turns = word ^ (word << np.uint64(1) | carry)
            carry = word >> np.uint64(63)
            while turns:
                edges[at] = np.int64(WORD * j) + np.int64(_lowest(turns))
                turns &= turns - np.uint64(1)
                at += 1
        if at < end:
            edges[at] = width
