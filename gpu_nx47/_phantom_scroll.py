"""The wound papyrus of the phantom: where its sheets lie, how thick, how bright, torn, split and labelled.

The papyrus is one long strip wound round an axis. A point's *winding coordinate* is ``(r + warp) / pitch - angle`` (in
turns); the recto face of winding k lies where it equals ``k + offset``. What belongs to the strip (offset, thickness,
brightness, tears ...) is tabulated for each slice over (winding, angle) and looked up by every voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gpu_nx47._phantom_noise import F32, F64, SheetField, VolumeField, mix_int, turns

__all__ = ["Scroll", "SliceParts", "draw_scroll"]

KINDS = ("inside", "near", "far")
# Tabulated columns a voxel of arc length: two keep the staircase of a nearest look-up below a quarter of a voxel.
_COLUMNS_PER_VOXEL = 2.0
# No strip within this many turns of the axis: the core of a scroll is a void with crumbs.
_CORE = 0.8
# Deviations above which the strip is torn.
_TEAR = 1.65
# Labelled zone: voxels before and behind a labelled recto that are certain background.
_ZONE_BEFORE, _ZONE_BEHIND = 7.0, 17.0
# Around an unlabelled recto nothing is certain.
_DOUBT_BEFORE, _DOUBT_BEHIND = 4.0, 8.0


@dataclass(frozen=True)
class SliceParts:
    """One slice of the scroll, arrays of shape (n, n)."""

    grey: F32
    """Intensity before point spread and noise, 0-255."""
    sheet: npt.NDArray[np.bool_]
    """Papyrus."""
    recto: npt.NDArray[np.bool_]
    """The papyrus's layer towards the axis."""
    label: npt.NDArray[np.uint8]
    """0 background, 1 labelled recto, 2 ignore."""


def _slope(phase: F32) -> F32:
    """Length of the in-plane gradient (central differences, one-sided at the ends), kept within .6 and 1.8."""
    gy, gx = np.empty_like(phase), np.empty_like(phase)
    for g, v in ((gy, phase), (gx.T, phase.T)):
        g[1:-1] = (v[2:] - v[:-2]) * np.float32(0.5)
        g[0], g[-1] = v[1] - v[0], v[-1] - v[-2]
    return np.clip(np.sqrt(gy * gy + gx * gx), 0.6, 1.8)


class Draw:
    """Numbers drawn from a seed, in order: uniform multiples of 2 ** -32."""

    def __init__(self, seed: int) -> None:
        self._seed, self._count = seed, 0

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        self._count += 1
        return low + (high - low) * (mix_int(self._seed & 0xFFFFFFFF, self._seed >> 32, 77, self._count) / 2.0**32)

    def unit(self) -> tuple[float, float]:
        """Return a random direction (y, x)."""
        while True:
            y, x = self.between(-1, 1), self.between(-1, 1)
            norm2 = y * y + x * x
            if 0.05 < norm2 <= 1:
                norm = float(np.sqrt(norm2))
                return y / norm, x / norm


@dataclass(frozen=True)
class Plan:
    """What is drawn once for a phantom."""

    n: int
    seed: int
    kind: str
    pitch: float
    thickness: float
    axis: F64
    towards: tuple[float, float]
    chirality: float
    label_share: float


def draw_scroll(n: int, seed: int) -> Scroll:
    """Draw a scroll for a cube of n voxels a side from a seed."""
    draw = Draw(seed)
    kind = KINDS[mix_int(seed & 0xFFFFFFFF, seed >> 32, 3) % 3]
    pitch = draw.between(14.0, 18.0)
    thickness = pitch * draw.between(0.56, 0.63)
    towards = draw.unit()
    centre = (n - 1) / 2
    if kind == "inside":
        distance = n * draw.between(0.0, 0.22)
    elif kind == "near":
        distance = n * draw.between(0.80, 1.2)
    else:
        distance = n * draw.between(1.8, 3.5)
    drift = (draw.between(-0.06, 0.06), draw.between(-0.06, 0.06))
    z = np.arange(n, dtype=np.float64) - centre
    axis = np.stack([centre - distance * towards[i] + drift[i] * z for i in (0, 1)], axis=1)
    chirality = 1.0 if draw.between(0, 1) < 0.5 else -1.0
    return Scroll(Plan(n, seed, kind, pitch, thickness, axis, towards, chirality, draw.between(0.29, 0.36)))


class Scroll:
    """A scroll ready to be cut into slices."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._grid()
        self._fields()
        self._label_limit, self._bright_mean = self._survey()

    def _polar(self, z: int, y: F32, x: F32) -> tuple[F32, F32]:
        """Radius in voxels and angle in turns, angle 0 from the axis towards the middle of the cube."""
        p = self.plan
        dy, dx = y - np.float32(p.axis[z, 0]), x - np.float32(p.axis[z, 1])
        ty, tx = np.float32(p.towards[0]), np.float32(p.towards[1])
        along = dx * tx + dy * ty
        across = (dy * tx - dx * ty) * np.float32(p.chirality)
        return np.sqrt(along * along + across * across), turns(across, along)

    def _grid(self) -> None:
        """Lay out the table: first winding, first angle, columns a turn, length coordinate of each column."""
        p = self.plan
        side = np.arange(p.n, dtype=np.float32)
        polar = [self._polar(z, side[:, None], side[None, :]) for z in (0, p.n // 2, p.n - 1)]
        r_low, r_high = min(float(r.min()) for r, _ in polar), max(float(r.max()) for r, _ in polar)
        self._per_turn = int(_COLUMNS_PER_VOXEL * 6.2831853 * r_high)
        if p.kind == "inside":
            self._angle0, columns = -0.5, self._per_turn + 1
        else:
            # A convex cube seen from outside: the border slices hold the extreme angles, up to the axis's drift.
            low, high = min(float(a.min()) for _, a in polar) - 0.01, max(float(a.max()) for _, a in polar) + 0.01
            self._angle0, columns = low, int((high - low) * self._per_turn) + 2
        # The warp stays within 24 voxels and half a turn belongs to the angle.
        self._k0 = max(0, int((r_low - 24) / p.pitch) - 3)
        windings = int((r_high + 24) / p.pitch) + 4 - self._k0
        angle = self._angle0 + (np.arange(columns, dtype=np.float64) + 0.5) / self._per_turn
        self._turn = np.arange(windings, dtype=np.float64)[:, None] + self._k0 + angle[None, :]
        # Arc length of a spiral r = pitch * turn: continuous where one turn becomes the next.
        self._s = 3.14159265 * p.pitch * self._turn * np.abs(self._turn)

    def _fields(self) -> None:
        n, seed = self.plan.n, self.plan.seed
        keys = iter(range(1, 100))

        def sheet(period_s: float, period_z: float) -> SheetField:
            return SheetField(mix_int(seed & 0xFFFFFFFF, seed >> 32, next(keys)), self._s, n, period_s, period_z)

        def space(period: float, period_z: float) -> VolumeField:
            return VolumeField(mix_int(seed & 0xFFFFFFFF, seed >> 32, next(keys)), n, period, period_z)

        self._f_offset, self._f_buckle = sheet(60, 130), sheet(22, 50)
        self._f_thick, self._f_rough = sheet(35, 60), sheet(4, 5)
        self._f_bright, self._f_patch = sheet(70, 110), sheet(12, 16)
        self._f_tear, self._f_rag = sheet(26, 30), sheet(5, 6)
        self._f_split, self._f_leaf = sheet(45, 70), sheet(60, 60)
        self._f_contact, self._f_recto = sheet(14, 30), sheet(50, 50)
        self._f_label, self._f_press = sheet(85, 150), sheet(40, 80)
        self._f_fibre_s, self._f_fibre_z = sheet(28, 2.6), sheet(2.6, 28)
        self._v_warp, self._v_wave = space(95, 190), space(42, 110)
        self._v_haze, self._v_lumps = space(24, 30), space(7, 8)
        self._v_light = space(110, 110)

    def _offset(self, z: int) -> F32:
        """How far each recto lies from its winding, in turns; neighbours stay at least .36 turns apart."""
        offset = np.clip(0.185 * self._f_offset.at(z) + 0.05 * self._f_buckle.at(z), -0.29, 0.29)
        return offset + np.clip(0.014 * self._f_rough.at(z), -0.03, 0.03)

    def _tables(self, z: int) -> dict[str, F32]:
        """Tabulate what the strip is like in slice z, each of shape (windings, columns)."""
        p = self.plan
        offset = self._offset(z)
        split = np.clip(3.2 * (self._f_split.at(z) - 0.9), 0, 4.5)
        thick = np.clip(p.thickness + 2.4 * self._f_thick.at(z) + 0.5 * self._f_rough.at(z), 6, 15)
        # Swollen stretches, tens of voxels long, that bridge the gap to the next sheet.
        thick = np.minimum(thick + np.clip(6 * (self._f_press.at(z) - 0.3), 0, 6), np.float32(16))
        split = np.where(thick > 8.5, split, np.float32(0))
        bright = np.clip(138 + 36 * (self._f_bright.at(z) - self._bright_mean), 108, 205) + 7 * self._f_patch.at(z)
        torn = self._f_tear.at(z) + 0.25 * self._f_rag.at(z) - _TEAR
        torn[self._turn < _CORE] = 9
        return {
            "start": offset,
            "thick": np.minimum(thick + split, 16),
            "split": split,
            "leaf": np.clip(0.5 + 0.07 * self._f_leaf.at(z), 0.4, 0.6),
            "bright": bright.astype(np.float32),
            "contact": np.clip(14 + 14 * self._f_contact.at(z), 0, 40),
            "t_recto": np.clip(3.0 + 0.35 * self._f_recto.at(z), 2.3, 4.2),
            "fibre_s": self._f_fibre_s.at(z),
            "fibre_z": self._f_fibre_z.at(z),
            "torn": torn,
            "labelled": (self._f_label.at(z) > self._label_limit).astype(np.float32),
        }

    def _locate(self, z: int, offset: F32) -> tuple[npt.NDArray[np.int64], F32, F32]:
        """Which table entry owns each voxel, and its distances (voxels) behind that recto and before the next one."""
        p = self.plan
        side = np.arange(p.n, dtype=np.float32)
        radius, angle = self._polar(z, side[:, None], side[None, :])
        warp = np.clip(6.0 * self._v_warp.at(z) + 2.2 * self._v_wave.at(z), -22, 22)
        # The warp fades towards the axis, where it would fold the innermost turns.
        warp *= np.minimum(radius * np.float32(1 / 70), np.float32(1))
        phase = radius + warp
        winding = phase / np.float32(p.pitch) - angle
        windings, columns = self._s.shape
        column = np.clip(
            ((angle - np.float32(self._angle0)) * np.float32(self._per_turn)).astype(np.int64), 0, columns - 1
        )
        row = np.floor(winding).astype(np.int64) - self._k0
        np.clip(row, 1, windings - 3, out=row)
        flat = offset.ravel()
        relative = winding - (row + self._k0).astype(np.float32)
        index = row * columns + column
        shift = (relative >= 1 + flat[index + columns]).astype(np.int64) - (relative < flat[index])
        index += shift * columns
        relative -= shift.astype(np.float32)
        # Where the warp squeezes the windings, a step in phase is a shorter way: papyrus keeps its thickness.
        voxels = np.float32(p.pitch) / _slope(phase)
        behind = (relative - flat[index]) * voxels
        before = (1 + flat[index + columns] - relative) * voxels
        return index, behind, before

    def _survey(self) -> tuple[float, float]:
        """Limit of the label field that labels the drawn share of voxels, and mean of the brightness field.

        Both fields are slow, so that in a small cube they may lie far from their long-run means: without this some
        phantoms would have no label, or too many, or be all bright.
        """
        labels, total, count = [], 0, 0
        for z in range(0, self.plan.n, max(1, self.plan.n // 8)):
            index = self._locate(z, self._offset(z))[0][::3, ::3].ravel()
            labels.append(self._f_label.at(z).ravel()[index])
            # Integers: a float sum would depend on its order.
            total += int(np.rint(self._f_bright.at(z).ravel()[index] * 4096).astype(np.int64).sum())
            count += index.size
        ranked = np.sort(np.concatenate(labels))
        return float(ranked[int((1 - self.plan.label_share) * (ranked.size - 1))]), total / count / 4096

    def cut(self, z: int) -> SliceParts:
        """Slice z of the scroll."""
        table = self._tables(z)
        index, behind, before = self._locate(z, table["start"])
        following = index + self._s.shape[1]
        own = {name: np.take(values.ravel(), index) for name, values in table.items() if name != "start"}
        lumps = self._v_lumps.at(z)
        # Fibres end at different lengths: the edge of a tear is ragged in depth too.
        whole = own["torn"] + 0.35 * lumps < 0
        slit = np.abs(behind - own["leaf"] * own["thick"]) < own["split"] * np.float32(0.5)
        sheet = whole & (behind < own["thick"]) & ~slit
        recto = sheet & (behind < own["t_recto"])
        labelled = own["labelled"] > 0
        next_labelled = np.take(table["labelled"].ravel(), following) > 0
        next_whole = np.take(table["torn"].ravel(), following) < 0
        known = (labelled & (behind < _ZONE_BEHIND)) | (next_labelled & (before < _ZONE_BEFORE))
        doubt = (~labelled & whole & (behind < _DOUBT_BEHIND)) | (
            ~next_labelled & next_whole & (before < _DOUBT_BEFORE)
        )
        label = np.where(recto & labelled, 1, np.where(known & ~doubt, 0, 2)).astype(np.uint8)
        grey = np.where(sheet, self._papyrus(own, behind, before), self._gap(z, lumps))
        light = np.float32(1) + np.float32(0.07) * self._v_light.at(z)
        return SliceParts(grey * light, sheet, recto, label)

    def _papyrus(self, own: dict[str, F32], behind: F32, before: F32) -> F32:
        """Grey of papyrus: strips along the length in the recto half, along the height in the verso half."""
        depth = behind / own["thick"]
        mixture = np.clip(4 * depth - 1.5, 0, 1)
        fibres = own["fibre_s"] * (1 - mixture) + own["fibre_z"] * mixture
        grey = own["bright"] + 17 * fibres
        # Where two sheets touch there is at most a faint seam, as wide as a voxel.
        seam = (before < 1) & (own["thick"] > behind)
        return grey - np.where(seam, own["contact"], np.float32(0))

    def _gap(self, z: int, lumps: F32) -> F32:
        """Grey between the sheets: air with haze, and lumps of debris."""
        haze = np.clip(73 + 9 * self._v_haze.at(z), 60, 98)
        lumps = np.clip(65 * (lumps - 0.9), 0, 65)
        return haze + lumps
