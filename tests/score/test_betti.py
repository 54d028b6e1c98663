"""Betti numbers are those of known solids and of independent counts; the bound of the TopoScore is one."""

import itertools

import numpy as np
import pytest
from drawn_pairs import pairs
from scipy import ndimage
from skimage.measure import euler_number

from gpu_nx47 import bits
from gpu_nx47.backend import select
from gpu_nx47.betti import betti_numbers
from gpu_nx47.corners import corner_codes
from gpu_nx47.score import score_volume
from gpu_nx47.score._betti import PSEUDO, WEIGHTS, features, octants, topo_bound

N = 25
Z, Y, X = np.indices((N, N, N)) - N // 2
STRUCTURE = {6: ndimage.generate_binary_structure(3, 1), 26: np.ones((3, 3, 3))}
CPU = select("cpu")[0].label


def ball(radius, centre=(0, 0, 0)):
    return (Z - centre[0]) ** 2 + (Y - centre[1]) ** 2 + (X - centre[2]) ** 2 <= radius**2


def torus(a, b, c, big=7, small=2):
    """A ring around the axis a, in the plane of b and c."""
    return (np.sqrt(b**2 + c**2) - big) ** 2 + a**2 <= small**2


def linked_tori():
    """One ring in the plane of y and x, another in that of z and x that runs through it."""
    return torus(Z, Y, X + 4, 6, 1.5) | torus(Y, Z, X - 4, 6, 1.5)


def sheet(holes):
    mask = abs(Z) <= 1
    for y, x in holes:
        mask = mask & ~((abs(Y - y) <= 1) & (abs(X - x) <= 1))
    return mask


SOLIDS = {
    "nothing": (np.zeros((N, N, N), bool), (0, 0, 0)),
    "everything": (np.ones((N, N, N), bool), (1, 0, 0)),
    "ball": (ball(8), (1, 0, 0)),
    "two balls": (ball(3, (0, 0, -6)) | ball(3, (0, 0, 6)), (2, 0, 0)),
    "shell": (ball(9) & ~ball(6), (1, 0, 1)),
    "shell in a shell": ((ball(11) & ~ball(9)) | (ball(6) & ~ball(3)), (2, 0, 2)),
    "torus": (torus(Z, Y, X), (1, 1, 0)),
    "hollow torus": (torus(Z, Y, X, 7, 4) & ~torus(Z, Y, X, 7, 2), (1, 2, 1)),
    "linked tori": (linked_tori(), (2, 2, 0)),
    "sheet": (sheet([]), (1, 0, 0)),
    "sheet, three holes": (sheet([(-6, -6), (0, 4), (7, 0)]), (1, 3, 0)),
    "tube, open at the border": ((Y**2 + X**2 <= 64) & (Y**2 + X**2 > 25), (1, 1, 0)),
    "box, its cavity at the border": (~(ball(5, (12, 0, 0))), (1, 0, 0)),
}


@pytest.mark.parametrize("connectivity", [6, 26])
@pytest.mark.parametrize("name", SOLIDS)
def test_known_solids(kernel, name, connectivity):
    mask, expected = SOLIDS[name]
    assert betti_numbers(mask, kernel, connectivity=connectivity) == expected


def independent(mask, connectivity):
    """Count with SciPy's labels and scikit-image's Euler number."""
    components = ndimage.label(mask, STRUCTURE[connectivity])[1]
    outside = ndimage.label(np.pad(~mask, 1, constant_values=True), STRUCTURE[6 if connectivity == 26 else 26])[1] - 1
    return components, components + outside - euler_number(mask, 3 if connectivity == 26 else 1), outside


@pytest.mark.parametrize("connectivity", [6, 26])
def test_drawn_masks_equal_an_independent_count(connectivity):
    for density, shape in itertools.product(
        (0.05, 0.3, 0.5, 0.8, 0.97), [(1, 1, 1), (1, 7, 5), (9, 2, 8), (11, 12, 13)]
    ):
        mask = np.random.default_rng([7, int(100 * density), *shape]).random(shape) < density
        assert betti_numbers(mask, CPU, connectivity=connectivity) == independent(mask, connectivity)


@pytest.mark.parametrize("connectivity", [6, 26])
def test_the_euler_number_of_a_mask_with_every_neighbourhood(connectivity):
    mask = np.random.default_rng(3).random((18, 19, 20)) < 0.5
    assert len(np.unique(corner_codes(mask))) == 256
    assert bits.euler_number(bits.packed(mask), connectivity) == euler_number(mask, 3 if connectivity == 26 else 1)


def test_voxels_joined_by_an_edge():
    """A diagonal pair is one component of closed cubes, and two where faces join."""
    mask = np.zeros((1, 2, 2), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = True
    assert betti_numbers(mask, CPU) == (1, 0, 0)
    assert betti_numbers(mask, CPU, connectivity=6) == (2, 0, 0)
    assert features(mask, CPU) == (1, 0, 0)  # the one that never dies is left out


@pytest.mark.parametrize("shape", [(4, 4, 4), (5, 4, 7), (1, 3, 2), (1, 1, 1)])
def test_octants_cover_a_volume_once(shape):
    seen = np.zeros(shape, int)
    parts = octants(shape)
    for part in parts:
        seen[part] += 1
    assert (seen == 1).all()
    assert len(parts) == 2 ** sum(n > 1 for n in shape)
    assert seen[parts[0]].shape == tuple(-(-n // 2) for n in shape)


def test_a_ring_across_octants_is_a_tunnel_in_none():
    ring = torus(Z, Y, X).astype(np.uint8)
    topology = score_volume(ring, ring).topology
    assert sum(b1 for _, b1, _ in topology.label) == 0
    assert topology.error == (0, 0, 0)


def test_the_betti_error_is_summed_over_octants():
    label, pred = np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.uint8)
    label[1, 1, 1] = pred[6, 6, 6] = 1  # one component each: equal sums, unlike octants
    assert score_volume(pred, label).topology.error == (2, 0, 0)


# The bound


def test_the_bound_by_hand():
    bound = topo_bound([(3, 1, 0)], [(2, 2, 0)], [(4, 1, 0)])
    assert (bound.matched, bound.predicted, bound.labelled) == ((2, 1, 0), (2, 2, 0), (3, 1, 0))
    assert bound.value == pytest.approx((0.34 * 4 / 5 + 0.33 * 2 / 3) / 0.67, abs=1e-15)


def test_features_the_label_lacks_leave_the_official_pseudo_count():
    bound = topo_bound([(1, 0, 0)], [(1, 0, 3)], [(1, 0, 0)])
    assert bound.value == pytest.approx((0.34 + 0.33 * PSEUDO / 3.5) / (0.34 + 0.33), abs=1e-15)


def test_no_feature_at_all_scores_one():
    assert topo_bound([(0, 0, 0)], [(0, 0, 0)], [(0, 0, 0)]).value == 1


def test_a_merger_of_the_union_bounds_the_matches():
    """Three sheets, and a prediction of three between them: together one block, so only what is in it can match."""
    label, pred = np.zeros((1, 14, 3), np.uint8), np.zeros((1, 14, 3), np.uint8)
    for y in (0, 2, 4):
        label[:, y], pred[:, y + 1] = 1, 1
    bound = score_volume(pred, label).topology.bound
    assert bound.predicted[0] > 0
    assert bound.labelled[0] > 0
    assert bound.matched[0] == 0


def test_the_bound_is_never_in_a_total():
    ball_ = ball(8).astype(np.uint8)
    found = score_volume(ball_, ball_)
    assert (found.topo, found.total, found.mean, found.topology.bound.value) == (None, None, 1, 1)


def test_the_official_score_is_below_the_bound_and_has_its_features():
    toposcore = pytest.importorskip("topometrics.leaderboard", reason="topometrics is not installed")
    for name, truth, pred in pairs():
        report = toposcore.compute_leaderboard_score(
            pred.astype(np.uint8), truth.astype(np.uint8), surface_tolerance=2.0, voi_alpha=0.3
        )
        found = score_volume(pred, truth.astype(np.uint8), official=True)
        counts = [report.topo.counts_by_dim[d] for d in range(3)]
        bound = found.topology.bound
        assert bound.predicted == tuple(p for _, p, _ in counts), name
        assert bound.labelled == tuple(g for _, _, g in counts), name
        assert all(m <= most for (m, _, _), most in zip(counts, bound.matched, strict=True)), name
        assert found.topo <= bound.value + 1e-12, name
        assert found.total == pytest.approx(report.score, abs=1e-9), name
    assert sum(WEIGHTS) == pytest.approx(1)
