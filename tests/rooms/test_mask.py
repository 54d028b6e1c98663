"""The mask on phantoms whose truth is known: anchored, and on the sheets."""

import numpy as np
import pytest
from scipy import ndimage

from gpu_nx47 import backend, phantom
from gpu_nx47.engine import Engine
from gpu_nx47.settings import Settings
from gpu_nx47.solve import Story, solve

pytestmark = pytest.mark.same_bits

FRAME = (slice(3, -3),) * 3


@pytest.fixture(scope="module", params=[1, 2, 3])
def solved(request):
    made = phantom.make_phantom(96, request.param)
    chosen, _ = backend.select("cpu")
    engine = Engine(backend.Meter(chosen), (64, 512, 512), 2)
    found = solve(np.ascontiguousarray(made.image[FRAME]), engine, Settings(), Story("x", lambda e: None, engine), None)
    return made, found


def test_most_of_the_mask_is_anchored(solved):
    _, found = solved
    assert found.final.any()
    assert (found.final & found.hysteresis).sum() >= 0.5 * found.final.sum()


def test_anchors_lie_on_sheets(solved):
    made, found = solved
    near = ndimage.distance_transform_edt(~made.sheets[FRAME]) <= 2
    assert near[found.hysteresis].mean() >= 0.8


def test_the_mask_prefers_the_face_towards_the_axis(solved):
    """A mask that marked both faces alike would have as much of it near versos as near rectos."""
    made, found = solved
    if not found.scene.axis_used:
        pytest.skip("this run says itself that it cannot tell the side")
    recto, sheets = made.recto[FRAME], made.sheets[FRAME]
    outer = sheets & ~recto & (ndimage.distance_transform_edt(sheets) <= 2)
    assert (found.final & recto).sum() / recto.sum() > 2 * (found.final & outer).sum() / outer.sum()
