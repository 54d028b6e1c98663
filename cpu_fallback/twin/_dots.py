"""Products of 16-bit integers, summed in 64 bits: 32 at once, where a processor multiplies and adds pairs of them.

Every step is exact, so the order of the sums cannot matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE: Final = 32
_PAIRS: Final = AT_ONCE // 2
_CODES: Final = ir.VectorType(ir.IntType(16), AT_ONCE)
_PRODUCTS: Final = ir.VectorType(ir.IntType(32), AT_ONCE)
_SUMS: Final = ir.VectorType(ir.IntType(64), _PAIRS)


class _Sums(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Sums")


_KIND: Final = _Sums()


@register_model(_Sums)
class _SumsModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _SUMS)


def _instruction(build: Callable[..., Any]) -> Any:
    return intrinsic(build)


@_instruction
def nothing(_typing: Any) -> Any:
    """Return sums of 0."""
    return _KIND(), lambda _context, _builder, _signature, _given: ir.Constant(_SUMS, None)


@_instruction
def add_products(_typing: Any, sums: Any, one: Any, at: Any, other: Any, index: Any) -> Any:
    """Add one[at + i] * other[index + i], 0 <= i < 32, of flat arrays of int16; no two products may make 2^31."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        sums, *places = given

        def codes(kind: Any, array: Any, start: Any) -> Any:
            place = builder.gep(context.make_array(kind)(context, builder, array).data, [start])
            return builder.sext(builder.load(builder.bitcast(place, _CODES.as_pointer()), align=2), _PRODUCTS)

        products = builder.mul(codes(one, *places[:2]), codes(other, *places[2:]))
        even, odd = (
            builder.shuffle_vector(
                products,
                ir.Constant(_PRODUCTS, ir.Undefined),
                ir.Constant(ir.VectorType(ir.IntType(32), _PAIRS), list(range(first, AT_ONCE, 2))),
            )
            for first in (0, 1)
        )
        return builder.add(sums, builder.sext(builder.add(even, odd), _SUMS))

    return _KIND(_KIND, one, types.uint64, other, types.uint64), generate


@_instruction
def total_of(_typing: Any, sums: Any) -> Any:
    """Return what the sums come to, int64."""

    def generate(_context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [_SUMS])
        name = f"llvm.vector.reduce.add.v{_PAIRS}i64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)

    return types.int64(_KIND), generate
