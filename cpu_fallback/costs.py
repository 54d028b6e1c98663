"""What each law costs: arithmetic operations for each output voxel asked for.

One operation is one + - * / sqrt, comparison, minimum or maximum, shift, bit operation, rounding or table look-up on
one element. Moves, casts, index arithmetic and padding are free. The count is the law's own algorithm on an endless
volume: halos and a backend's own way of doing it never enter, so it is equal on all backends and tilings. Kernels whose
work depends on the data (labelling) count their dense part, which the law file states.
"""

from __future__ import annotations

from typing import Any


def operations(kernel: str, **parameters: Any) -> float:
    """Return the operations for each voxel of `kernel` called with `parameters`.

    Raises
    ------
    KeyError
        No kernel of that name.
    """
    from cpu_fallback import law

    return float(law.OPERATIONS[kernel](**parameters))
