"""How good masks are by the competition's measures: SurfaceDice, VOI score, Betti numbers, TopoScore.

>>> import numpy as np
>>> from gpu_nx47.score import score_volume
>>> sheet = np.zeros((8, 8, 8), np.uint8)
>>> sheet[3:5] = 1
>>> score_volume(sheet, sheet).mean
1.0
"""

from __future__ import annotations

from gpu_nx47.score._files import find_labels, find_scrolls, read_label_at
from gpu_nx47.score._volume import Reference, Score, Topology, score_volume, total

__all__ = ["Reference", "Score", "Topology", "find_labels", "find_scrolls", "read_label_at", "score_volume", "total"]
