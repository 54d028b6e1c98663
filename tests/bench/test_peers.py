"""Peers are fair only where they compute the same: each is held to ours within the roundings of both."""

import numpy as np
import pytest

twin = pytest.importorskip("cpu_fallback.twin", reason="Numba is not installed")

HALF = 0.55
"""Codes: half of our own rounding, and a little of theirs."""
UNITS = {
    "gaussian sigma 1": 256, "gaussian sigma 3": 256, "gradient_magnitude": 64, "laplacian": 16, "gradient_along": 64,
    "local_entropy": 8192, "local_variance": 4, "z_projection max": 256, "z_projection mean": 256,
    "z_projection deviation": 256, "z_projection coherence": 32768, "band_pass": 0.25,
    "neuron of 6 features": 65535, "lookup": 1, "gather": 1, "histogram of 8 bits": 1, "histogram of 16 bits": 1,
    "count": 1, "hysteresis": 1, "remove_small": 1, "dilation": 1, "erosion": 1, "closing": 1, "opening": 1,
}  # fmt: skip
"""Codes of ours in one unit of theirs."""
PEERS = {"SciPy", "scikit-image", "OpenCV", "cc3d", "NumPy", "PyTorch"}


def offered_for(peers, case):
    """What each peer that is installed finds."""
    offered, absent, _ = peers(case, "cpu", 2)
    assert set(offered) | set(absent) == PEERS
    return {peer: work() for peer, work in offered.items()}


@pytest.mark.parametrize("name", sorted(UNITS))
def test_the_same_numbers(name, peers, small):
    case = small[name]
    (ours,) = case.run(twin, case.arrays)
    # The unit rounds its logit to 1/2048 before the table: up to 65535 / 4 / 4096 of a code.
    limit = HALF + 4.0 if name == "neuron of 6 features" else HALF
    for peer, theirs in offered_for(peers, case).items():
        theirs = np.asarray(theirs)
        if name == "gather":
            theirs = theirs.view(np.uint16)
        assert np.shape(ours) == theirs.shape, peer
        distance = np.abs(np.asarray(ours, np.float64) - theirs.astype(np.float64) * UNITS[name])
        assert distance.max() <= limit, peer


def test_the_same_gradient_and_laplacian(peers, small):
    case = small["gradient and Laplacian"]
    ours = case.run(twin, case.arrays)
    for peer, theirs in offered_for(peers, case).items():
        for mine, their, unit in zip(ours, theirs, (64, 16), strict=True):
            assert np.abs(mine - np.asarray(their) * np.float64(unit)).max() <= HALF, peer


@pytest.mark.parametrize("name", ["label 6", "label 26"])
def test_the_same_components(name, peers, small):
    case = small[name]
    labels, count = case.run(twin, case.arrays)
    assert count > 1
    for peer, (theirs, number) in offered_for(peers, case).items():
        assert number == count, peer
        pairs = np.unique(np.stack([labels.reshape(-1), theirs.reshape(-1).astype(np.int64)]), axis=1)
        assert pairs.shape[1] == count + 1, peer  # one to one, background to background


def test_the_same_moments(peers, small):
    case = small["component_moments"]
    (ours,) = case.run(twin, case.arrays)
    theirs = offered_for(peers, case)
    assert np.array_equal(ours[:, :10], theirs["NumPy"])
    if "cc3d" in theirs:
        assert np.array_equal(ours[:, 0], theirs["cc3d"]["voxel_counts"][1:])


def test_the_same_gradient_of_the_training(peers, small):
    case = small["neuron_sums"]
    (gradient, loss) = case.run(twin, case.arrays)
    for peer, theirs in offered_for(peers, case).items():
        slopes, total, cost = (np.asarray(v, np.float64) for v in theirs)
        # Residuals are in 1/32767, x in 1/4096, the loss in 1/65536; each sample is rounded to half a step.
        samples = case.voxels
        assert np.abs(gradient[:6] / 32767 / 4096 - slopes).max() < samples * 3 / 32767, peer
        assert abs(gradient[6] / 32767 - total) < samples / 32767, peer
        assert abs(loss / 65536 - cost) < samples / 4096, peer


def test_every_kernel_has_a_peer_or_says_why_not(peers, small):
    for case in small.values():
        offered, absent, _ = peers(case, "cpu", 1)
        assert offered or all(absent.values()), case.name


def test_a_gpus_peers_are_absent_with_a_reason_here(peers, small):
    offered, absent, _ = peers(small["laplacian"], "gpu", 1)
    if offered:
        pytest.skip("there is a GPU")
    assert set(absent) == {"cupyx", "cuCIM", "PyTorch"}
    assert all(absent.values())
