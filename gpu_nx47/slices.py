"""The table of a volume's slices: what was found in each, as integers that can be checked, and shares made of them.

There is no time in it: a tile covers many slices at once, and every slice is passed several times, so a slice has no
seconds of its own. The seconds of each stage stand in NX47_METRICS.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpu_nx47 import tables
from gpu_nx47.atomic import write_whole
from gpu_nx47.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_nx47.solve import Solved
    from gpu_nx47.volume import Volume

FOLDER: Final = "slices"
COUNTED: Final = ("voxels", "hysteresis", "calibrated", "final", "final_anchored", "p_code_sum", "grey_sum")
"""Columns of the table."""
BESIDE: Final = ("final_calibrated", "golden_active")
"""Counted in the same pass, and told of the volume alone."""


def counted(volume: Volume, solved: Solved | None) -> dict[str, list[int]]:
    """Return what is counted in each slice of the whole stack, in one pass: what has been read is still at hand.

    Parameters
    ----------
    volume : Volume
    solved : Solved or None
        None: nothing can be found in the volume; its masks are empty.

    Returns
    -------
    dict of str to list
        The columns COUNTED (see `table`), and BESIDE: voxels of the final mask that are calibrated, and of those above
        the golden limit the ones that are calibrated or in the hysteresis mask.
    """
    depth = volume.grey.shape[0]
    box = volume.box.slices
    plane = volume.grey[:, box[1], box[2]]
    area = plane[0].size if depth else 0
    rows = {name: [0] * depth for name in (*COUNTED, *BESIDE)}
    for z in range(box[0].start, box[0].stop):
        rows["voxels"][z] = area
        rows["grey_sum"][z] = int(plane[z].sum(dtype=np.int64))
        if solved is None:
            continue
        inner = z - box[0].start
        final, probability = solved.final[inner], solved.probability[inner]
        (anchored,) = solved.masks.anchored.rows(slice(inner, inner + 1))
        reached = probability >= solved.calibration.threshold
        masks = {
            "hysteresis": anchored,
            "calibrated": reached,
            "final": final,
            "final_anchored": final & anchored,
            "final_calibrated": final & reached,
            "golden_active": (anchored | reached) & (probability > solved.null.golden_limit),
        }
        for name, mask in masks.items():
            rows[name][z] = int(np.count_nonzero(mask))
        rows["p_code_sum"][z] = int(probability.sum(dtype=np.int64))
    return rows


def table(counts: dict[str, list[int]], *, found: bool = True) -> dict[str, list[Any]]:
    """Return the columns of the table, one row a slice of the whole stack.

    Parameters
    ----------
    counts : dict of str to list
        From `counted`.
    found : bool
        False: nothing can be found in the volume, and it has no probability.

    Returns
    -------
    dict of str to list
        `z`; `voxels` of the valid box; voxels of each mask, and of the final mask within the hysteresis mask;
        `p_code_sum` (probability in 1/65535) and `grey_sum` over the box; `density_hysteresis`, `density_calibrated`,
        `density_final` (shares of `voxels`), `mean_p`, `anchored_share` (of the final mask). What has nothing to be a
        share of is null.
    """
    depth = len(counts["voxels"])
    rows: dict[str, list[Any]] = {"z": list(range(depth)), **{name: counts[name] for name in COUNTED}}
    for name in ("hysteresis", "calibrated", "final"):
        rows[f"density_{name}"] = _shares(rows[name], rows["voxels"])
    rows["mean_p"] = _shares(rows["p_code_sum"], [tables.PROBABILITY_ONE * n * found for n in rows["voxels"]])
    rows["anchored_share"] = _shares(rows["final_anchored"], rows["final"])
    return rows


def _shares(parts: list[int], wholes: list[int]) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(parts, wholes, strict=True)]


def write_table(folder: Path, name: str, columns: dict[str, list[Any]]) -> Path:
    """Write the table as `<name>.csv`, whole or not at all; what is null is empty.

    Raises
    ------
    OutputError
        The table cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows(zip(*columns.values(), strict=True))
    path = folder / f"{name}.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError.of(folder, error) from error
    write_whole(path, text.getvalue().encode("ascii"))
    return path
