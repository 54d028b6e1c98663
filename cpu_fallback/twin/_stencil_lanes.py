"""What `_gradient.py` makes of sixteen voxels of a row and of their neighbours.

Each function is a few instructions of LLVM on vectors of sixteen float32 in the law's order, none of which may be
contracted. The laws subtract integers and then convert; both are exact below 2^24, so converting first gives the same
bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cpu_fallback.twin._floats import CODES, FLOATS, INTS, VECTOR, WIDTH, bounded, constant, place_of, spread

if TYPE_CHECKING:
    from collections.abc import Callable


def _instruction(build: Callable[..., Any]) -> Any:
    return intrinsic(build)


def _of(builder: Any, name: str, value: Any) -> Any:
    kind = ir.FunctionType(VECTOR, [VECTOR])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f32"), [value])


def _square(builder: Any, value: Any) -> Any:
    return builder.fmul(value, value)


def _storing(result: Callable[..., Any], *given: Any) -> tuple[Any, Callable[..., Any]]:
    """Return an intrinsic's signature and code: the result goes as 16-bit codes to `out`, from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        *values, out, index = values
        codes = builder.trunc(builder.fptosi(result(builder, *values), INTS), CODES)
        builder.store(codes, place_of(context, builder, signature.args[-2], out, index, CODES), align=2)
        return context.get_dummy_value()

    return types.none(*given, types.uint64), generate


@_instruction
def load_codes(_typing: Any, flat: Any, index: Any, flip: Any) -> Any:
    """Return sixteen uint16 of a flat array from an index on; `flip`: 0, or 2^15 where they are int16."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array, at, flip = given
        codes = builder.load(place_of(context, builder, signature.args[0], array, at, CODES), align=2)
        sign = spread(builder, flip, INTS)
        return builder.sitofp(builder.sub(builder.xor(builder.zext(codes, INTS), sign), sign), VECTOR)

    return FLOATS(flat, types.uint64, types.int32), generate


@_instruction
def store_length(
    _typing: Any, below: Any, above: Any, up: Any, down: Any, left: Any, right: Any, out: Any, index: Any
) -> Any:
    """Put the gradient's length."""

    def result(builder: Any, below: Any, above: Any, up: Any, down: Any, left: Any, right: Any) -> Any:
        z, y, x = (
            _square(builder, builder.fsub(high, low)) for low, high in ((below, above), (up, down), (left, right))
        )
        length = _of(builder, "sqrt", builder.fadd(builder.fadd(z, y), x))
        return _of(builder, "rint", builder.fmul(length, constant(0.125)))

    return _storing(result, *[FLOATS] * 6, out)


@_instruction
def store_laplacian(
    _typing: Any,
    here: Any,
    below: Any,
    above: Any,
    up: Any,
    down: Any,
    left: Any,
    right: Any,
    half: Any,
    scale: Any,
    out: Any,
    index: Any,
) -> Any:
    """Put the Laplacian: sums of integers below 2^24 and a power of two, exact in any order; floor is the shift."""

    def result(builder: Any, here: Any, *given: Any) -> Any:
        *around, half, scale = given
        total = builder.fmul(here, constant(-6.0))
        for one in around:
            total = builder.fadd(total, one)
        total = builder.fmul(builder.fadd(total, spread(builder, half, VECTOR)), spread(builder, scale, VECTOR))
        return bounded(builder, _of(builder, "floor", total), -32768.0, 32767.0)

    return _storing(result, *[FLOATS] * 7, types.float32, types.float32, out)


@_instruction
def store_band(_typing: Any, here: Any, wide: Any, out: Any, index: Any) -> Any:
    """Put the difference of two scales."""

    def result(builder: Any, here: Any, wide: Any) -> Any:
        difference = builder.fadd(builder.fsub(here, wide), constant(2.0))
        return _of(builder, "floor", builder.fmul(difference, constant(0.25)))

    return _storing(result, FLOATS, FLOATS, out)


@_instruction
def store_along(
    _typing: Any, up: Any, down: Any, left: Any, right: Any, ty: Any, to_x: Any, out: Any, index: Any
) -> Any:
    """Put the gradient along a way (ty, tx)."""

    def result(builder: Any, up: Any, down: Any, left: Any, right: Any, ty: Any, tx: Any) -> Any:
        ty, one = spread(builder, ty, VECTOR), constant(1.0)
        distance = _of(builder, "sqrt", builder.fadd(_square(builder, ty), _square(builder, tx)))
        distance = builder.select(builder.fcmp_ordered(">", distance, one), distance, one)
        y, x = builder.fmul(builder.fsub(down, up), ty), builder.fmul(builder.fsub(right, left), tx)
        return _of(builder, "rint", builder.fmul(builder.fdiv(builder.fadd(y, x), distance), constant(0.125)))

    return _storing(result, *[FLOATS] * 4, types.float32, FLOATS, out)
