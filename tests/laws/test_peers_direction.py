"""Directions against SciPy's filters and NumPy's eigenvectors; sums, peaks and tables against loops."""

from math import cos, pi, sin, sqrt

import numpy as np
import pytest
from scipy import ndimage

from cpu_fallback import law
from cpu_fallback.law import DIRECTION_NONE, DIRECTION_OPPOSITE, DIRECTION_STEPS
from gpu_nx47.tables import direction_vectors, disk_offsets, line_offsets

SHAPES = [(1, 1, 1), (1, 2, 9), (13, 1, 2), (5, 6, 7), (9, 21, 14), (24, 17, 31)]
HALF_A_STEP = sqrt(2) / DIRECTION_STEPS  # from the middle of a step to its corner, at the middle of a face, radians

CLEAR = 0.15
"""Planarity from which the vector is converged: what is left of the second one is 0.85^32 = .006."""


def draw_smooth(shape, sharp):
    rng = np.random.default_rng([62, *shape])
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), sharp)
    return np.rint(65535 * (noise - noise.min()) / max(np.ptp(noise), 1e-9)).astype(np.uint16)


def draw_field(shape, phase):
    cells = tuple((n + p + 1) // 2 for n, p in zip(shape, phase, strict=True))
    return np.random.default_rng([63, *shape]).integers(0, DIRECTION_NONE + 1, cells, dtype=np.uint16)


def tensors(smooth, radius):
    """Return the structure tensors in float64, gradients not rounded."""
    d = [ndimage.correlate1d(smooth.astype(np.float64), [-1 / 16, 0, 1 / 16], axis=a, mode="reflect") for a in range(3)]
    result = np.empty((*(-(-n // 4) for n in smooth.shape), 3, 3))
    for i in range(3):
        for j in range(3):
            whole = np.pad(d[i] * d[j], [(0, -n % 4) for n in smooth.shape], mode="edge")
            z, y, x = (n // 4 for n in whole.shape)
            box = whole.reshape(z, 4, y, 4, x, 4).sum(axis=(1, 3, 5))
            for _ in range(2):
                box = ndimage.uniform_filter(box, 2 * radius + 1, mode="reflect") * (2 * radius + 1) ** 3
            result[..., i, j] = box
    return result


@pytest.mark.parametrize("radius", [1, 4, 8])
@pytest.mark.parametrize("sharp", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_directions_are_numpys_eigenvectors(shape, sharp, radius):
    smooth = draw_smooth(shape, sharp)
    direction, planarity = law.directions(smooth, radius=radius)
    values, vectors = np.linalg.eigh(tensors(smooth, radius))
    expected = (values[..., 2] - values[..., 1]) / values[..., 2]
    assert np.abs(planarity / 255 - expected).max() < 0.03
    clear = expected > CLEAR
    assert np.abs(planarity / 255 - expected)[clear].max(initial=0) < 2 / 255
    along = np.abs((vectors[..., 2] * direction_vectors()[direction]).sum(axis=-1))[clear]
    assert np.arccos(np.minimum(along, 1)).max(initial=0) < HALF_A_STEP + 0.01
    assert (direction < DIRECTION_OPPOSITE).all()


def test_the_cases_of_eigenvectors_are_clear_ones():
    """Else the test above would compare nothing."""
    clear = [law.directions(draw_smooth(shape, 1.0), radius=1)[1] > CLEAR * 255 for shape in SHAPES[1:]]
    assert min(c.mean() for c in clear) > 0.25


@pytest.mark.parametrize("seed", range(12))
def test_sheets_are_seen_to_face_where_they_face(seed):
    """A stack of plane sheets: one direction everywhere, at most half a step from theirs."""
    normal = np.random.default_rng([64, seed]).standard_normal(3)
    normal /= np.linalg.norm(normal)
    z, y, x = np.indices((40, 42, 44))
    smooth = np.rint(30_000 + 9000 * np.sin(0.4 * (normal[0] * z + normal[1] * y + normal[2] * x))).astype(np.uint16)
    direction, planarity = law.directions(smooth)
    inside = (slice(2, -2),) * 3
    along = np.abs(direction_vectors()[direction[inside]] @ normal)
    assert np.arccos(along).max() < HALF_A_STEP + 0.02
    assert planarity[inside].min() > 230


def test_a_code_is_of_the_step_that_its_vector_is_in():
    """From the vector of each code back to the code, by the formula of the law."""
    vectors = direction_vectors()[:DIRECTION_OPPOSITE]
    for code, vector in enumerate(vectors.tolist()):
        face = max(range(3), key=lambda k: abs(vector[k]))
        first, second = (int((vector[k] / vector[face] + 1) * 12) for k in range(3) if k != face)
        assert (face * 24 + first) * 24 + second == code


def test_only_what_is_out_of_reach_of_any_gradient_has_no_direction():
    """A block sees the 3 voxels around each of its own, and both boxes."""
    smooth = np.full((3, 3, 60), 700, np.uint16)
    smooth[:, :, 28] = 900
    direction, planarity = law.directions(smooth, radius=1)
    # Voxels 27 and 29 have gradients: blocks 6 and 7, and 2 more on either side.
    assert np.flatnonzero((direction != DIRECTION_NONE)[0, 0]).tolist() == list(range(4, 10))
    assert np.array_equal(planarity == 255, direction != DIRECTION_NONE)
    assert not planarity[direction == DIRECTION_NONE].any()


def places(codes, direction, phase, offsets):
    """Yield each voxel and the codes around it, from a copy with a border, as Python's integers."""
    bordered = np.pad(codes, 16, mode="symmetric")
    for voxel in np.ndindex(codes.shape):
        cell = tuple((i + p) // 2 for i, p in zip(voxel, phase, strict=True))
        ways = offsets[direction[cell]].astype(int)
        yield voxel, [int(bordered[tuple(np.add(voxel, way) + 16)]) for way in ways]


@pytest.mark.parametrize("phase", [(0, 0, 0), (1, 0, 1), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
def test_directional_sum_written_out(shape, dtype, phase):
    rng = np.random.default_rng([65, *shape])
    info = np.iinfo(dtype)
    codes = rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    direction, offsets = draw_field(shape, phase), disk_offsets((3.0, 15.5))
    weights = rng.integers(-100, 101, 17).astype(np.int32)
    for signed, shift in ((True, 6), (False, 4), (False, 0)):
        low, high = (-32768, 32767) if signed else (0, 65535)
        given = {"phase": phase, "offsets": offsets, "weights": weights, "shift": shift, "signed": signed}
        found = law.directional_sum(codes, direction, **given)
        for voxel, around in places(codes, direction, phase, offsets):
            total = sum(w * code for w, code in zip(weights.tolist(), around, strict=True))
            expected = (total + 2**shift // 2) // 2**shift
            assert found[voxel] == min(max(expected, low), high)


@pytest.mark.parametrize("phase", [(0, 0, 0), (0, 1, 1)], ids=str)
@pytest.mark.parametrize("shape", SHAPES[:5], ids=str)
def test_directional_peak_written_out(shape, phase):
    codes = np.random.default_rng([66, *shape]).integers(-9, 10, shape).astype(np.int16)
    direction, offsets = draw_field(shape, phase), line_offsets((-3.0, -2.0, -1.0, 0.0, 1.0, 2.0))
    found = law.directional_peak(codes, direction, phase=phase, offsets=offsets)
    for voxel, e in places(codes, direction, phase, offsets):
        peaks = [e[k] for k in range(1, len(e) - 1) if e[k] == max(e[k - 1 : k + 2])]
        assert found[voxel] == max([0, *peaks])


def test_direction_vectors_are_half_a_sphere_and_its_opposites():
    vectors = direction_vectors()
    lines = vectors[:DIRECTION_OPPOSITE]
    assert np.abs(np.linalg.norm(vectors[:-1], axis=1) - 1).max() < 1e-15
    assert np.array_equal(vectors[DIRECTION_OPPOSITE:-1], -lines)
    assert not vectors[-1].any()
    # No two lines are nearer than a step at a corner of the cube, and none is farther from all than half a step.
    angles = np.arccos(np.minimum(np.abs(lines @ lines.T), 1)) + pi * np.eye(len(lines))
    assert angles.min() > 2 / DIRECTION_STEPS / 3
    some = np.random.default_rng(67).standard_normal((500, 3))
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    assert np.arccos(np.minimum(np.abs(some @ lines.T).max(axis=1), 1)).max() < HALF_A_STEP


@pytest.mark.parametrize("radii", [(2.0,), (2.0, 4.0, 6.0), (1.5, 3.0, 16.0)])
def test_disks_lie_across_their_direction(radii):
    offsets = disk_offsets(radii)
    assert offsets.shape == (DIRECTION_NONE + 1, 1 + 8 * len(radii), 3)
    assert not offsets[:, 0].any()
    assert not offsets[-1].any()
    for code in range(0, DIRECTION_NONE, 37):
        normal = direction_vectors()[code]
        shortest = np.eye(3)[np.abs(normal).argmin()]
        t = np.cross(normal, shortest)
        t /= np.linalg.norm(t)
        s = np.cross(normal, t)
        for q, radius in enumerate(radii):
            for k in range(8):
                angle = k * pi / 4 + q * pi / 8
                place = radius * (cos(angle) * t + sin(angle) * s)
                assert np.abs(offsets[code, 1 + 8 * q + k] - place).max() < 0.5 + 1e-9


def test_lines_lie_along_their_direction():
    steps = (-16.0, -2.0, -0.5, 0.0, 1.0, 3.7)
    offsets = line_offsets(steps)
    assert np.abs(offsets - np.array(steps)[:, None] * direction_vectors()[:, None]).max() <= 0.5
    assert not offsets[-1].any()


@pytest.mark.parametrize("table", [direction_vectors, lambda: disk_offsets((2.0,)), lambda: line_offsets((1.0,))])
def test_a_table_is_made_once_and_never_written(table):
    assert table() is table()
    with pytest.raises(ValueError, match="read-only"):
        table()[0] = 1
