"""The phantom is what its docstring says: frozen, laid out as the competition's data, and not a toy."""

import csv
import hashlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from gpu_nx47._phantom_noise import turns
from gpu_nx47.errors import UsageError
from gpu_nx47.phantom import Phantom, make_phantom, phantom_id, write_phantom_root

SIZE = 96
SEEDS = (5, 1, 4)  # inside, near, far
BOX = (slice(3, -3),) * 3


@pytest.fixture(scope="module", params=SEEDS)
def phantom(request):
    return make_phantom(SIZE, request.param)


def digest(phantom: Phantom) -> str:
    parts = hashlib.sha256()
    for volume in (phantom.image, phantom.label, phantom.sheets.view(np.uint8), phantom.recto.view(np.uint8)):
        parts.update(volume.tobytes())
    parts.update(np.rint(phantom.axis * 1024).astype("<i8").tobytes())
    return parts.hexdigest()


def outward(phantom: Phantom) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (y, x) that lead away from the axis at each voxel."""
    steps = np.arange(SIZE, dtype=np.float64)
    y = steps[None, :, None] - phantom.axis[:, 0, None, None]
    x = steps[None, None, :] - phantom.axis[:, 1, None, None]
    norm = np.maximum(np.hypot(y, x), 1e-9)
    return y / norm, x / norm


def shifted(volume: np.ndarray, phantom: Phantom, distance: float, where: tuple[np.ndarray, ...]) -> np.ndarray:
    """Values of a volume `distance` voxels farther from the axis than the voxels `where` (False outside)."""
    oy, ox = (o[where] for o in outward(phantom))
    y, x = np.rint(where[1] + distance * oy).astype(int), np.rint(where[2] + distance * ox).astype(int)
    inside = (y >= 0) & (y < SIZE) & (x >= 0) & (x < SIZE)
    out = np.zeros(y.size, bool)
    out[inside] = volume[where[0][inside], y[inside], x[inside]]
    return out


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_arguments_give_the_same_bits(seed):
    made, again = make_phantom(48, seed), make_phantom(48, seed)
    assert digest(made) == digest(again)
    assert made.kind == again.kind


def test_the_bits_are_frozen():
    # Frozen with the table in bench/results/phantom_hardness.txt: change both together, and only to be harder.
    assert digest(make_phantom(64, 7)) == "f324055a0412adc9b90f0f3fd708f01cdf60451b1d71ce237e57d00ad4912bfb"


def test_another_seed_is_another_phantom():
    assert digest(make_phantom(32, 5)) != digest(make_phantom(32, 6))
    assert digest(make_phantom(32, 5)) != digest(make_phantom(32, 5 + 2**32))


def test_shapes_and_types(phantom):
    for volume, dtype in (
        (phantom.image, np.uint8),
        (phantom.label, np.uint8),
        (phantom.sheets, np.bool_),
        (phantom.recto, np.bool_),
    ):
        assert volume.shape == (SIZE,) * 3
        assert volume.dtype == dtype
    assert phantom.axis.shape == (SIZE, 2)
    assert phantom.axis.dtype == np.float64


def test_the_frame_is_three_zeros_wide_and_no_wider(phantom):
    frame = np.ones((SIZE,) * 3, bool)
    frame[BOX] = False
    for volume in (phantom.image, phantom.label, phantom.sheets, phantom.recto):
        assert not volume[frame].any()
    assert phantom.image[BOX].min() > 0


def test_label_shares(phantom):
    label = phantom.label[BOX]
    assert set(np.unique(label)) == {0, 1, 2}
    assert 0.01 <= (label == 1).mean() <= 0.08
    assert (label == 2).mean() >= 0.45


def test_greys_are_those_of_scroll_ct(phantom):
    image, sheets = phantom.image[BOX].astype(float), phantom.sheets[BOX]
    assert 80 <= image.mean() <= 115
    assert 60 <= np.median(image[~sheets]) <= 90
    assert 105 <= np.median(image[sheets]) <= 160
    # Bright sheets and faded ones: no threshold separates papyrus from air.
    assert np.percentile(image[sheets], 95) >= 145
    assert np.percentile(image[sheets], 10) < np.percentile(image[~sheets], 90)


def test_label_1_is_the_recto_of_some_sheets_but_not_of_all(phantom):
    labelled = phantom.label == 1
    assert not (labelled & ~phantom.recto).any()
    assert not (phantom.recto & ~phantom.sheets).any()
    share = labelled.sum() / phantom.recto.sum()
    assert 0.2 <= share <= 0.65
    # A recto without label is never called background: that would punish the truth.
    assert not (phantom.recto & (phantom.label == 0))[BOX].any()


def test_the_recto_is_the_face_towards_the_axis(phantom):
    z, y, x = np.nonzero(phantom.recto)
    middle = (np.minimum(y, x) > 12) & (np.maximum(y, x) < SIZE - 12)
    where = (z[middle], y[middle], x[middle])
    # Towards the axis one soon leaves the sheet, but where two touch; away from it there are six voxels of papyrus.
    inward, outer = (np.mean([shifted(phantom.sheets, phantom, d * 4, where)]) for d in (-1, 1))
    assert inward < 0.5
    assert outer > 0.85
    beyond = shifted(phantom.recto, phantom, 5, where)
    # Neighbouring rectos may come as near as .36 of a pitch, so not none.
    assert beyond.mean() < 0.1


def test_the_recto_is_two_to_five_voxels_thick(phantom):
    where = np.nonzero(phantom.recto)
    steps = [shifted(phantom.recto, phantom, t, where) for t in np.arange(-5, 5.25, 0.5)]
    thickness = sum(step.astype(int) for step in steps) / 2
    assert 2 <= np.median(thickness) <= 4.5
    # Sampled on the grid, a slanting layer may look half a voxel thinner or a voxel thicker than it is.
    assert np.percentile(thickness, 5) >= 1.5
    assert np.percentile(thickness, 95) <= 5.5


def test_sheets_touch_and_split(phantom):
    """A recto touches where papyrus lies next to it towards the axis; a sheet is split where it holds air."""
    where = np.nonzero(phantom.recto & (np.indices(phantom.recto.shape).min(axis=0) > 12))
    first = ~shifted(phantom.recto, phantom, -1, where)
    edge = tuple(w[first] for w in where)
    touching = shifted(phantom.sheets, phantom, -1.5, edge) & shifted(phantom.sheets, phantom, -3, edge)
    assert 0.03 <= touching.mean() <= 0.6
    leaf = [shifted(phantom.sheets, phantom, t, edge) for t in np.arange(1, 14)]
    recto = [shifted(phantom.recto, phantom, t, edge) for t in np.arange(1, 14)]
    split = np.zeros(edge[0].size, bool)
    for i in range(4, 9):
        for j in range(i + 2, 12):
            # Papyrus, air, papyrus again, and no recto after the air began: a leaf of the same sheet.
            again = leaf[j] & ~np.logical_or.reduce(recto[i : j + 1])
            split |= leaf[i - 2] & ~leaf[i] & again
    assert split.mean() > 0.005


def test_three_kinds_occur_and_say_where_the_axis_lies():
    kinds = set()
    for seed in range(12):
        made = make_phantom(32, seed)
        y, x = made.axis[16]
        inside = 0 <= y < 32 and 0 <= x < 32
        away = np.hypot(y - 15.5, x - 15.5) / 32
        kinds.add(made.kind)
        assert (made.kind == "inside") == inside
        assert (made.kind == "far") == (away > 1.5)
    assert kinds == {"inside", "near", "far"}


def test_turns_is_the_angle():
    rng = np.random.default_rng(1)
    y, x = rng.normal(size=(2, 1000)).astype(np.float32)
    assert np.abs(turns(y, x) - np.arctan2(y.astype(float), x.astype(float)) / (2 * np.pi)).max() < 2e-7


@pytest.mark.parametrize(("size", "seed"), [(31, 0), (64, -1)])
def test_refuses_what_it_cannot_make(size, seed):
    with pytest.raises(UsageError, match="expected size"):
        make_phantom(size, seed)


def test_a_written_root_has_the_competitions_layout(tmp_path):
    write_phantom_root(tmp_path, size=32, seeds=[1, 2], train_seeds=[3])
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    one, two, three = (phantom_id(s) for s in (1, 2, 3))
    images = [
        f"test_images/{one}.tif",
        f"test_images/{two}.tif",
        f"train_images/{three}.tif",
        f"train_labels/{three}.tif",
    ]
    assert files == sorted([*images, "test.csv", "train.csv"])
    for name, ids in (("test.csv", [one, two]), ("train.csv", [three])):
        rows = list(csv.DictReader((tmp_path / name).open()))
        assert [r["id"] for r in rows] == ids
        assert all(set(r) == {"id", "scroll_id"} and r["id"].isdigit() for r in rows)
    for name in images:
        with tifffile.TiffFile(tmp_path / name) as tif:
            assert tif.series[0].shape == (32, 32, 32)
            for page in tif.pages:
                assert page.compression == tifffile.COMPRESSION.LZW
                assert page.dtype == np.uint8
                assert len(page.dataoffsets) == 1
        with Image.open(tmp_path / name) as pages:
            assert pages.n_frames == 32
            pages.seek(16)
            assert np.asarray(pages).shape == (32, 32)
    made = make_phantom(32, 3)
    assert np.array_equal(tifffile.imread(tmp_path / images[2]), made.image)
    assert np.array_equal(tifffile.imread(tmp_path / images[3]), made.label)
    assert np.array_equal(tifffile.imread(tmp_path / images[0]), make_phantom(32, 1).image)
