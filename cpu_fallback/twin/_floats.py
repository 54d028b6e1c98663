"""Sixteen float32 at once, in one register of a processor with 512 bits: for sums that stay there until they are whole.

Each function is a few instructions of LLVM on a vector of sixteen, none of which may be contracted or reordered, so it
has the bits of sixteen scalars on any processor; one without such registers takes several narrower ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH: Final = 16
_F32: Final = ir.FloatType()
VECTOR: Final = ir.VectorType(_F32, WIDTH)
INTS: Final = ir.VectorType(ir.IntType(32), WIDTH)
_BYTES: Final = ir.VectorType(ir.IntType(8), WIDTH)
CODES: Final = ir.VectorType(ir.IntType(16), WIDTH)


class _Floats(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Floats")


FLOATS: Final = _Floats()


@register_model(_Floats)
class _FloatsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, VECTOR)


def _instruction(build: Callable[..., Any]) -> Any:
    return intrinsic(build)


def spread(builder: Any, value: Any, kind: Any) -> Any:
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(INTS, [0] * WIDTH))


def constant(value: float) -> Any:
    return ir.Constant(VECTOR, [value] * WIDTH)


def bounded(builder: Any, value: Any, low: float, high: float) -> Any:
    least, most = constant(low), constant(high)
    value = builder.select(builder.fcmp_ordered(">", value, least), value, least)
    return builder.select(builder.fcmp_ordered("<", value, most), value, most)


def nearest(builder: Any, value: Any) -> Any:
    """Return rint(value) as integers of which the low 16 bits are to be kept; |value| < 2^22.

    Beside 1.5 2^23 a float32 has no bits behind the point: their sum is rounded, half to even, to a whole number.
    """
    return builder.bitcast(builder.fadd(value, constant(1.5 * 2.0**23)), INTS)


def _rounded(builder: Any, value: Any, low: float, high: float) -> Any:
    """Return rint(2048 value) within bounds."""
    kind = ir.FunctionType(VECTOR, [VECTOR])
    nearest = cgutils.get_or_insert_function(builder.module, kind, f"llvm.rint.v{WIDTH}f32")
    return bounded(builder, builder.call(nearest, [builder.fmul(value, constant(2048.0))]), low, high)


def place_of(context: Any, builder: Any, kind: Any, array: Any, index: Any, vector: Any) -> Any:
    start = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    return builder.bitcast(start, vector.as_pointer())


@_instruction
def same(_typing: Any, value: Any) -> Any:
    """Return sixteen times a float32."""
    return FLOATS(types.float32), lambda _context, builder, _signature, given: spread(builder, given[0], VECTOR)


@_instruction
def standardised(_typing: Any, address: Any, index: Any, flip: Any, mean: Any, scale: Any) -> Any:
    """Return (code - mean) * scale within -8..8 of sixteen 16-bit codes at an address, from an index on.

    `flip`: 0 for uint16; 2^15 for int16.
    """

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        address, index, flip, mean, scale = given
        start = builder.gep(builder.inttoptr(address, ir.IntType(16).as_pointer()), [index])
        codes = builder.load(builder.bitcast(start, CODES.as_pointer()), align=2)
        sign = spread(builder, flip, INTS)
        whole = builder.sub(builder.xor(builder.zext(codes, INTS), sign), sign)
        shifted = builder.fsub(builder.sitofp(whole, VECTOR), spread(builder, mean, VECTOR))
        return bounded(builder, builder.fmul(shifted, spread(builder, scale, VECTOR)), -8.0, 8.0)

    return FLOATS(types.uint64, types.uint64, types.int32, types.float32, types.float32), generate


@_instruction
def load(_typing: Any, flat: Any, index: Any) -> Any:
    """Return sixteen elements of a flat array of float32 from an index on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array, at = given
        return builder.load(place_of(context, builder, signature.args[0], array, at, VECTOR), align=4)

    return FLOATS(flat, types.uint64), generate


@_instruction
def load_signed(_typing: Any, flat: Any, index: Any) -> Any:
    """Return sixteen int16 of a flat array from an index on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array, at = given
        codes = builder.load(place_of(context, builder, signature.args[0], array, at, CODES), align=2)
        return builder.sitofp(builder.sext(codes, INTS), VECTOR)

    return FLOATS(flat, types.uint64), generate


def _bytes_at(builder: Any, address: Any, index: Any) -> Any:
    start = builder.gep(builder.inttoptr(address, ir.IntType(8).as_pointer()), [index])
    return builder.zext(builder.load(builder.bitcast(start, _BYTES.as_pointer()), align=1), INTS)


@_instruction
def load_bytes(_typing: Any, address: Any, index: Any) -> Any:
    """Return sixteen uint8 at an address, from an index on."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.sitofp(_bytes_at(builder, *given), VECTOR)

    return FLOATS(types.uint64, types.uint64), generate


@_instruction
def add_bytes(_typing: Any, low: Any, high: Any, index: Any) -> Any:
    """Return the sums of sixteen uint8 at each of two addresses, from an index on; float32 holds them exactly."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        low, high, index = given
        return builder.sitofp(builder.add(_bytes_at(builder, low, index), _bytes_at(builder, high, index)), VECTOR)

    return FLOATS(types.uint64, types.uint64, types.uint64), generate


@_instruction
def add(_typing: Any, one: Any, other: Any) -> Any:
    """Return one + other."""
    return FLOATS(FLOATS, FLOATS), lambda _context, builder, _signature, given: builder.fadd(*given)


@_instruction
def store(_typing: Any, floats: Any, flat: Any, index: Any) -> Any:
    """Put sixteen float32 into a flat array from an index on; nothing is checked."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        value, array, at = given
        builder.store(value, place_of(context, builder, signature.args[1], array, at, VECTOR), align=4)
        return context.get_dummy_value()

    return types.none(FLOATS, flat, types.uint64), generate


@_instruction
def add_product(_typing: Any, total: Any, weight: Any, floats: Any) -> Any:
    """Return total + weight * floats, rounded twice; weight is one float32."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        total, weight, value = given
        return builder.fadd(total, builder.fmul(spread(builder, weight, VECTOR), value))

    return FLOATS(FLOATS, types.float32, FLOATS), generate


@_instruction
def ramp(_typing: Any, total: Any) -> Any:
    """Return the ramp's output as the next neuron standardises it: rint(2048 total) / 2048 within 0..8."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.fmul(_rounded(builder, given[0], 0.0, 16384.0), constant(2.0**-11))

    return FLOATS(FLOATS), generate


@_instruction
def store_logits(_typing: Any, total: Any, flat: Any, index: Any) -> Any:
    """Put rint(2048 total) within -32767..32767, plus 32768, into a flat array of int32 from an index on."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        total, array, at = given
        codes = builder.fptosi(_rounded(builder, total, -32767.0, 32767.0), INTS)
        offset = ir.Constant(INTS, [32768] * WIDTH)
        place = place_of(context, builder, signature.args[1], array, at, INTS)
        builder.store(builder.add(codes, offset), place, align=4)
        return context.get_dummy_value()

    return types.none(FLOATS, flat, types.uint64), generate


@_instruction
def store_codes(_typing: Any, floats: Any, scale: Any, top: Any, flat: Any, index: Any) -> Any:
    """Put rint(scale floats), at most `top`, into a flat array of uint16 from an index on; 0 <= top < 2^16."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        value, scale, top, array, at = given
        most = spread(builder, top, VECTOR)
        value = builder.fmul(value, spread(builder, scale, VECTOR))
        value = builder.select(builder.fcmp_ordered("<", value, most), value, most)
        codes = builder.trunc(nearest(builder, value), CODES)
        builder.store(codes, place_of(context, builder, signature.args[3], array, at, CODES), align=2)
        return context.get_dummy_value()

    return types.none(FLOATS, types.float32, types.float32, flat, types.uint64), generate
