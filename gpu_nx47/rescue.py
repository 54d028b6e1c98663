"""What is done when a GPU has no memory for a piece of work: same bits, each step told.

What the device holds and does not use is given back and the tile is halved, at most three times; then that tile goes to
the CPU. Work on a whole volume cannot be cut: it is tried again with the memory freed, then it goes to the CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from gpu_nx47.backend import Meter
    from gpu_nx47.engine import Tile

HALVINGS: Final = 3

Result = TypeVar("Result")


def tile(meter: Meter, piece: Tile, work: Callable[[Tile], Result], halvings: int = 0) -> list[tuple[Tile, Result]]:
    """Return the tile and its result; in place of a tile that does not fit, its parts and theirs, in raster order.

    Raises
    ------
    MemoryError
        The backend is not the GPU: the host's own memory is at its end, and nothing here helps against that.
    """
    try:
        with meter.asking(piece.voxels):
            return [(piece, work(piece))]
    except MemoryError as error:
        reason = _reason(meter, error)
    # Outside of the except clause: the failed work's arrays are gone with its traceback.
    meter.free_memory()
    z, y, x = (b - a for a, b in zip(piece.start, piece.stop, strict=True))
    what = f"the tile of {z} x {y} x {x} voxels at {piece.start}"
    halves = piece.halves()
    if halvings < HALVINGS and len(halves) > 1:
        _tell(meter, "halve", f"no memory for {what}: freed the pools, halved it", reason)
        return [done for half in halves for done in tile(meter, half, work, halvings + 1)]
    with meter.on_cpu() as computed, meter.asking(piece.voxels):
        result = work(piece)
    _tell(meter, "cpu", f"no memory for {what}: computed it on the CPU", reason, computed())
    return [(piece, result)]


def whole(meter: Meter, what: str, work: Callable[[], Result]) -> Result:
    """Return what `work` does with the meter's kernels; `what` names it in the record.

    It must begin with arrays of the host and end with them: it may be begun again elsewhere.
    """
    for last in (False, True):
        try:
            with meter.asking():
                return work()
        except MemoryError as error:
            reason = _reason(meter, error)
        meter.free_memory()
        if not last:
            _tell(meter, "free", f"no memory for {what}: freed the pools, began it again", reason)
    with meter.on_cpu() as computed, meter.asking():
        result = work()
    _tell(meter, "cpu", f"no memory for {what}: computed it on the CPU", reason, computed())
    return result


def _reason(meter: Meter, error: MemoryError) -> str:
    if meter.backend.NAME != "gpu":
        raise error
    return str(error)


def _tell(meter: Meter, action: str, sentence: str, reason: str, computed: int = 0) -> None:
    data: dict[str, Any] = {"action": action, "reason": f"{sentence} ({reason})", "calc_ops_executed": computed}
    meter.tell(data)
