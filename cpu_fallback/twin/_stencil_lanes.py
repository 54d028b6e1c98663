"""What `_gradient.py` makes of sixteen voxels of a row and of their neighbours.

Each function is a few instructions of LLVM on vectors of sixteen, of float32 in the law's order; none may be
contracted. Codes stay integers, as in the laws, for as long as a result needs no root and no quotient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from cpu_fallback.twin._floats import CODES, FLOATS, INTS, VECTOR, WIDTH, constant, nearest, place_of, spread

if TYPE_CHECKING:
    from collections.abc import Callable


class _Ints(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Ints")


INTEGERS: Final = _Ints()


@register_model(_Ints)
class _IntsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, INTS)


def _instruction(build: Callable[..., Any]) -> Any:
    return intrinsic(build)


def _of(builder: Any, name: str, value: Any) -> Any:
    kind = ir.FunctionType(VECTOR, [VECTOR])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f32"), [value])


def _whole(value: int) -> Any:
    return ir.Constant(INTS, [value] * WIDTH)


def _difference(builder: Any, high: Any, low: Any) -> Any:
    """Return high - low as float32: below 2^24, so it is exact."""
    return builder.sitofp(builder.sub(high, low), VECTOR)


def _square(builder: Any, value: Any) -> Any:
    return builder.fmul(value, value)


def _storing(result: Callable[..., Any], *given: Any) -> tuple[Any, Callable[..., Any]]:
    """Return an intrinsic's signature and code: the low 16 bits of the result go to `out`, from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        *values, out, index = values
        codes = builder.trunc(result(builder, *values), CODES)
        builder.store(codes, place_of(context, builder, signature.args[-2], out, index, CODES), align=2)
        return context.get_dummy_value()

    return types.none(*given, types.uint64), generate


@_instruction
def load_codes(_typing: Any, flat: Any, index: Any, flip: Any) -> Any:
    """Return sixteen 16-bit codes of a flat array from an index on, as whole numbers.

    `flip`: 0; or 2^15 where the codes are int16, which then come 2^15 too high. No difference feels that.
    """

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        array, at, flip = given
        codes = builder.load(place_of(context, builder, signature.args[0], array, at, CODES), align=2)
        first = builder.insert_element(ir.Constant(CODES, ir.Undefined), flip, ir.Constant(ir.IntType(32), 0))
        sign = builder.shuffle_vector(first, ir.Constant(CODES, ir.Undefined), ir.Constant(INTS, [0] * WIDTH))
        return builder.zext(builder.xor(codes, sign), INTS)

    return INTEGERS(flat, types.uint64, types.uint16), generate


@_instruction
def store_length(
    _typing: Any, below: Any, above: Any, up: Any, down: Any, left: Any, right: Any, out: Any, index: Any
) -> Any:
    """Put the gradient's length."""

    def result(builder: Any, below: Any, above: Any, up: Any, down: Any, left: Any, right: Any) -> Any:
        z, y, x = (
            _square(builder, _difference(builder, *ends)) for ends in ((above, below), (down, up), (right, left))
        )
        length = _of(builder, "sqrt", builder.fadd(builder.fadd(z, y), x))
        return nearest(builder, builder.fmul(length, constant(0.125)))

    return _storing(result, *[INTEGERS] * 6, out)


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
    shift: Any,
    out: Any,
    index: Any,
) -> Any:
    """Put the Laplacian: (sum of six - 6 here + half) >> shift, within the bounds of int16."""

    def result(builder: Any, here: Any, *given: Any) -> Any:
        *around, half, shift = given
        total = builder.sub(spread(builder, half, INTS), builder.mul(here, _whole(6)))
        for one in around:
            total = builder.add(total, one)
        total = builder.ashr(total, spread(builder, shift, INTS))
        low, high = _whole(-32768), _whole(32767)
        total = builder.select(builder.icmp_signed(">", total, low), total, low)
        return builder.select(builder.icmp_signed("<", total, high), total, high)

    return _storing(result, *[INTEGERS] * 7, types.int32, types.int32, out)


@_instruction
def store_band(_typing: Any, here: Any, wide: Any, out: Any, index: Any) -> Any:
    """Put the difference of two scales: (here - wide + 2) >> 2."""

    def result(builder: Any, here: Any, wide: Any) -> Any:
        return builder.ashr(builder.add(builder.sub(here, wide), _whole(2)), _whole(2))

    return _storing(result, INTEGERS, INTEGERS, out)


@_instruction
def store_along(
    _typing: Any, up: Any, down: Any, left: Any, right: Any, ty: Any, to_x: Any, out: Any, index: Any
) -> Any:
    """Put the gradient along a way (ty, tx)."""

    def result(builder: Any, up: Any, down: Any, left: Any, right: Any, ty: Any, tx: Any) -> Any:
        ty, one = spread(builder, ty, VECTOR), constant(1.0)
        distance = _of(builder, "sqrt", builder.fadd(_square(builder, ty), _square(builder, tx)))
        distance = builder.select(builder.fcmp_ordered(">", distance, one), distance, one)
        y, x = builder.fmul(_difference(builder, down, up), ty), builder.fmul(_difference(builder, right, left), tx)
        return nearest(builder, builder.fmul(builder.fdiv(builder.fadd(y, x), distance), constant(0.125)))

    return _storing(result, *[INTEGERS] * 4, types.float32, FLOATS, out)
