"""Eight int32 at once, in one register of the processor: Numba's own vectoriser finds none in short loops of gathers.

Each function is one instruction of LLVM on a vector of eight, so it has the bits of eight scalars on any processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

if TYPE_CHECKING:
    from collections.abc import Callable

LANES: Final = 8
_VECTOR: Final = ir.VectorType(ir.IntType(32), LANES)
_NOTHING: Final = ir.Constant(_VECTOR, ir.Undefined)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes")


_LANES: Final = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _instruction(build: Callable[..., Any]) -> Any:
    return intrinsic(build)


def _spread(builder: Any, value: Any) -> Any:
    first = builder.insert_element(_NOTHING, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, _NOTHING, ir.Constant(_VECTOR, [0] * LANES))


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Return the address of eight elements of an array from an index on."""
    start = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    return builder.bitcast(start, ir.VectorType(ir.IntType(kind.dtype.bitwidth), LANES).as_pointer())


@_instruction
def same(_typing: Any, value: Any) -> Any:
    """Return eight times an int32."""
    return _LANES(types.int32), lambda _context, builder, _signature, given: _spread(builder, given[0])


@_instruction
def load(_typing: Any, flat: Any, index: Any) -> Any:
    """Return eight elements of a flat array of integers from an index on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        place = _place(context, builder, signature.args[0], *given)
        widened = builder.sext if flat.dtype.signed else builder.zext
        return widened(builder.load(place, align=flat.dtype.bitwidth // 8), _VECTOR)

    return _LANES(flat, types.uint64), generate


@_instruction
def store(_typing: Any, lanes: Any, flat: Any, index: Any) -> Any:
    """Put the lanes into a flat array of 16-bit integers, which hold them, from an index on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        value, array, at = given
        narrow = builder.trunc(value, ir.VectorType(ir.IntType(16), LANES))
        builder.store(narrow, _place(context, builder, signature.args[1], array, at), align=2)
        return context.get_dummy_value()

    return types.none(_LANES, flat, types.uint64), generate


@_instruction
def add(_typing: Any, one: Any, other: Any) -> Any:
    """Return one + other."""
    return _LANES(_LANES, _LANES), lambda _context, builder, _signature, given: builder.add(*given)


@_instruction
def add_product(_typing: Any, total: Any, weight: Any, lanes: Any) -> Any:
    """Return total + weight * lanes; weight is one int32."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.add(given[0], builder.mul(_spread(builder, given[1]), given[2]))

    return _LANES(_LANES, types.int32, _LANES), generate


@_instruction
def shifted(_typing: Any, lanes: Any, half: Any, shift: Any, low: Any, high: Any) -> Any:
    """Return (lanes + half) >> shift, at least low, at most high; all but the lanes are one int32."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        half, shift, low, high = (_spread(builder, one) for one in given[1:])
        code = builder.ashr(builder.add(given[0], half), shift)
        code = builder.select(builder.icmp_signed("<", code, high), code, high)
        return builder.select(builder.icmp_signed(">", code, low), code, low)

    return _LANES(_LANES, *[types.int32] * 4), generate


@_instruction
def higher_peak(_typing: Any, peak: Any, before: Any, here: Any, after: Any) -> Any:
    """Return `here` in each lane where it is a peak, here >= before and here >= after, and higher than `peak`."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        highest, left, middle, right = given
        found = builder.and_(builder.icmp_signed(">=", middle, left), builder.icmp_signed(">=", middle, right))
        return builder.select(builder.and_(found, builder.icmp_signed(">", middle, highest)), middle, highest)

    return _LANES(*[_LANES] * 4), generate
