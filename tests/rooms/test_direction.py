"""Directions, the scroll's axis, and faces: what a volume shows before anything is learned on it."""

import numpy as np
import pytest

from cpu_fallback import law
from cpu_fallback.law import DIRECTION_NONE
from gpu_nx47 import across, bank, direction, phantom, rescue, scene, survey, tables
from gpu_nx47.backend import Meter
from gpu_nx47.direction import Bearing, Field
from gpu_nx47.engine import Engine, tiles
from gpu_nx47.settings import ALONG_SHEETS, DEFAULT_BANK, NeuronSettings, Settings

SMALL = Settings(neuron=NeuronSettings(samples=4096))
INNER, OUTER = 18, 26
"""Radii of the ring's faces."""


def engine(tile=(64, 64, 64), threads=1):
    return Engine(Meter(law), tile, threads)


def inside(size, seed):
    return np.ascontiguousarray(phantom.make_phantom(size, seed).image[3:-3, 3:-3, 3:-3])


def ring():
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 31.5, x - 31.5)
    grey = np.where((radius > INNER) & (radius < OUTER), 170, 70).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(grey, (24, 64, 64))), np.broadcast_to(radius, (24, 64, 64))


def shown(grey, settings=SMALL, **how):
    silent = (lambda _done, _total: None,)
    view = scene.look(engine(**how), grey, settings, *silent)
    return scene.measure(engine(**how), grey, view, (scene.FACE,), settings.neuron.samples, *silent)[0]


@pytest.mark.parametrize(("tile", "threads"), [((13, 40, 17), 2), ((6, 9, 64), 1)])
def test_neither_tiles_nor_threads_change_directions_faces_or_votes(tile, threads):
    grey = inside(39, 1)
    one, two = shown(grey), shown(grey, tile=tile, threads=threads)
    assert one.axis == two.axis
    assert one.bearing.field.outward == two.bearing.field.outward
    for name in ("direction", "planarity"):
        assert (getattr(one.bearing.field, name) == getattr(two.bearing.field, name)).all()
    assert (one.labels == two.labels).all()
    assert (one.index == two.index).all()
    probability = np.random.default_rng(0).integers(0, 65_536, grey.shape, dtype=np.uint16)
    whole, tiled = probability.copy(), probability.copy()
    counts = across.vote(engine((4 * 64,) * 3), whole, one.bearing.field)
    assert (across.vote(engine(tile, threads), tiled, one.bearing.field) == counts).all()
    assert (whole != probability).any()
    assert (whole == tiled).all()
    assert (counts == np.bincount(whole.reshape(-1), minlength=65_536)).all()


def test_a_vote_whose_tiles_come_in_parts_is_the_same(monkeypatch):
    """As they do where a GPU had no memory for them: the last part of one lies behind the first slice of the next."""
    grey = inside(39, 1)
    field = direction.measure(engine(), grey)
    probability = np.random.default_rng(0).integers(0, 65_536, grey.shape, dtype=np.uint16)
    whole, parts = probability.copy(), probability.copy()
    across.vote(engine(), whole, field)

    def in_slices(_meter, tile, work):
        (_, y0, x0), (_, y1, x1) = tile.start, tile.stop
        return [(part, work(part)) for part in tile.parts((y1 - y0) * (x1 - x0))]

    monkeypatch.setattr(rescue, "tile", in_slices)
    across.vote(engine(tile=(28, 13, 17)), parts, field)
    assert (parts == whole).all()


@pytest.mark.parametrize("outward", [True, False])
@pytest.mark.parametrize("name", [*ALONG_SHEETS, "profile@-8"])
def test_no_tiling_changes_what_is_read_along_and_across(name, outward):
    grey = inside(35, 2)
    field = direction.measure(engine(), grey)
    bearing = Bearing(None, Field(field.direction, field.planarity, outward))
    margin = bank.halo([name])
    whole = np.zeros(grey.shape, np.int64)
    meter = Meter(law)
    for piece in tiles(grey.shape, (7, 11, 9)):
        whole[piece.core] = bank.TileBank(meter, grey, piece, bearing, margin, [name]).codes(name)
    (piece,) = tiles(grey.shape, grey.shape)
    assert (bank.TileBank(meter, grey, piece, bearing, margin, [name]).codes(name) == whole).all()
    assert whole.any()


@pytest.mark.parametrize("voxels", [1, 3_000, 1 << 20])
def test_the_parts_of_a_tile_are_the_tile(voxels, monkeypatch):
    """In any order of names, and at the operations that the whole tile would have asked for."""
    grey = inside(35, 2)
    axis = np.array([[8 * 20 + z, 8 * 55 - z] for z in range(len(grey))], np.int32)
    bearing = Bearing(axis, Field(direction.measure(engine(), grey).direction, None, True))
    names = ("profile@-3", "face", *(n for n in DEFAULT_BANK if n != "face"), "profile@2", "hessian_sheetness@2")
    margin = bank.halo(names)
    for piece in tiles(grey.shape, (17, 35, 20)):
        whole, cut = Meter(law), Meter(law)
        with whole.asking(piece.voxels):
            features = bank.TileBank(whole, grey, piece, bearing, margin, names)
            expected = [features.codes(name) for name in names]
        monkeypatch.setattr(bank, "PART_VOXELS", voxels)
        with cut.asking(piece.voxels):
            parts = bank.TileBank(cut, grey, piece, bearing, margin, names).parts(names)
            found = []
            for part in parts:
                with cut.asking(part.tile.voxels):
                    found.append([part.codes(name) for name in names])
        assert len(parts) == len(piece.parts(voxels))
        for name, one, other in zip(names, expected, zip(*found, strict=True), strict=True):
            assert np.array_equal(one, np.concatenate(other)), name
            assert all(codes.flags.c_contiguous for codes in other), name
        assert cut.total()[0] == whole.total()[0]


def test_a_measurement_by_parts_is_the_same(monkeypatch):
    grey = inside(35, 2)
    bearing = Bearing(None, Field(direction.measure(engine(), grey).direction, None, True))
    names = ("local_var", "profile@-3", "grad_mag", "along_mean")
    index = np.random.default_rng(3).integers(0, grey.size, 500)
    whole = bank.measure(engine(), grey, names, bearing, index)
    monkeypatch.setattr(bank, "PART_VOXELS", 4_000)
    parts = bank.measure(engine(), grey, names, bearing, index)
    for name in names:
        assert np.array_equal(parts.histograms[name].counts, whole.histograms[name].counts), name
        assert np.array_equal(parts.samples[name], whole.samples[name]), name


@pytest.mark.parametrize("voxels", [-8, -3, 1, 6])
def test_a_profile_is_the_mean_along_the_sheet_voxels_away_along_the_normal(voxels):
    grey = inside(35, 2)
    field = direction.measure(engine(), grey)
    names = [f"profile@{voxels}", "along_mean"]
    (piece,) = tiles(grey.shape, grey.shape)
    features = bank.TileBank(Meter(law), grey, piece, Bearing(None, field), bank.halo(names), names)
    found, mean = (features.codes(name) for name in names)
    normal = tables.direction_vectors()[field.direction]
    n = len(grey)
    for z, y, x in np.random.default_rng(voxels + 9).integers(0, n, (200, 3)).tolist():
        place = np.rint(voxels * normal[z // 4, y // 4, x // 4]).astype(int) + np.array([z, y, x])
        place = np.where(place < 0, -1 - place, np.where(place < n, place, 2 * n - 1 - place))  # reflected at the edges
        assert found[z, y, x] == mean[tuple(place)]


@pytest.mark.parametrize("voxels", [1, 4, 9])
def test_sheetness_is_the_second_difference_of_the_profile_whatever_the_sign_of_the_normal(voxels):
    grey = inside(35, 2)
    field = direction.measure(engine(), grey)
    (piece,) = tiles(grey.shape, grey.shape)
    found = []
    for one in (field, Field(direction.opposite(field.direction), field.planarity)):
        names = [f"hessian_sheetness@{voxels}", f"profile@{voxels}", f"profile@{-voxels}", "along_mean"]
        features = bank.TileBank(Meter(law), grey, piece, Bearing(None, one), bank.halo(names), names)
        ridge, out, back, mean = (features.codes(name).astype(int) for name in names)
        assert (ridge == np.clip((2 * mean - out - back + 2) >> 2, -32768, 32767)).all()
        found.append(ridge)
    assert (found[0] == found[1]).all()
    assert found[0].any()


def test_a_crop_of_the_field_gives_each_voxel_its_own_block():
    shape = (7, 9, 5)
    blocks = np.arange(2 * 3 * 2, dtype=np.uint16).reshape(2, 3, 2)
    field = Field(blocks, np.zeros(blocks.shape, np.uint8))
    whole = blocks.repeat(4, 0).repeat(4, 1).repeat(4, 2)[:7, :9, :5]
    for piece in tiles(shape, (3, 4, 5)):
        for margin in (0, 1, 2):
            crop = piece.crop(margin)
            cut, phase = field.cut(crop)
            place = [(np.arange(s.stop - s.start) + p) // 2 for s, p in zip(crop, phase, strict=True)]
            assert (cut[np.ix_(*place)] == whole[crop]).all()


def test_opposite_directions_have_opposite_vectors_and_none_stays_none():
    codes = np.arange(DIRECTION_NONE + 1, dtype=np.uint16)
    vectors = tables.direction_vectors()
    other = direction.opposite(codes)
    assert (vectors[other] == -vectors).all()
    assert (direction.opposite(other) == codes).all()
    assert other[-1] == DIRECTION_NONE


def test_turned_normals_point_away_from_an_axis_that_drifts():
    grey = inside(40, 5)
    axis = np.stack([np.linspace(60, 200, len(grey)), np.linspace(40, 250, len(grey))], axis=1).astype(np.int32)
    field = direction.measure(engine(), grey)
    turned = direction.turned(field, axis)
    same = turned.direction == field.direction
    assert same.any()
    assert not same.all()
    assert (turned.direction[~same] == direction.opposite(field.direction[~same])).all()
    z, y, x = np.indices(field.direction.shape) * 4
    normal = tables.direction_vectors()[turned.direction]
    line = axis[np.minimum(z + 2, len(axis) - 1)] / 8
    outward = normal[..., 1] * (y + 1.5 - line[..., 0]) + normal[..., 2] * (x + 1.5 - line[..., 1])
    assert outward.min() > -1e-3


def test_the_normals_of_a_ring_are_its_radii_and_its_planes_are_planar():
    grey, radius = ring()
    field = shown(grey).bearing.field
    z, y, x = np.indices(field.direction.shape) * 4 + 1.5
    away = np.stack([0 * z, y - 31.5, x - 31.5], axis=-1)
    away /= np.sqrt((away * away).sum(-1, keepdims=True))
    near = (np.abs(radius[::4, ::4, ::4] - 22) < 6)[: len(z)]
    cosine = (tables.direction_vectors()[field.direction] * away).sum(-1)[near]
    assert np.quantile(cosine, 0.02) > 0.99
    assert np.median(field.planarity[near]) > 0.7 * 255


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_axis_lies_on_the_right_side(seed):
    made = phantom.make_phantom(96, seed)
    grey = np.ascontiguousarray(made.image[3:-3, 3:-3, 3:-3])
    field = direction.measure(engine(), grey)
    index, _ = survey.draw_voxels(47, grey.size, 32_768)
    axis = survey.fit_axis(index, direction.normals_at(field, index, grey.shape), grey.shape)
    if axis.confidence < survey.AXIS_LIMIT:
        return  # it may say that it does not know
    found = direction.turned(field, axis.eighths(len(grey)))
    true = direction.turned(field, np.rint((made.axis[3:-3] - 3) * 8).astype(np.int32))
    assert (found.direction == true.direction)[field.planarity > 100].mean() > 0.85


def test_noise_and_parallel_sheets_have_no_known_axis():
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 256, (48, 48, 48), dtype=np.uint8)
    planes = np.broadcast_to(np.where(np.arange(48)[None, :, None] % 16 < 8, 170, 70), (48, 48, 48)).astype(np.uint8)
    for grey in (noise, np.ascontiguousarray(planes)):
        found = shown(grey)
        assert found.axis.confidence < survey.AXIS_LIMIT
        assert not found.axis_used
        assert found.bearing.axis is None
        assert not found.bearing.field.outward


def test_pseudo_labels_mark_the_inner_face_of_a_ring():
    grey, radius = ring()
    found = shown(grey)
    assert (found.axis.y, found.axis.x) == pytest.approx((31.5, 31.5), abs=1.0)
    index, _ = survey.draw_voxels(SMALL.seed, grey.size, survey.DRAWS_PER_SAMPLE * SMALL.neuron.samples)
    r = radius.reshape(-1)[index]
    recto = found.labels == survey.RECTO
    assert recto.sum() > 100
    assert r[recto].min() > INNER - 1
    assert r[recto].max() < INNER + 4
    assert (found.labels[(r > INNER + 0.5) & (r < INNER + 2)] == survey.RECTO).mean() > 0.95


def test_where_too_few_voxels_reach_a_face_the_sharpest_are_labelled_and_no_flat_one():
    drawn, contrast = 256 * 8, 100.0
    face = np.random.default_rng(1).permutation(drawn) / drawn * 10  # far below FACE * contrast, all different
    labels = survey.pseudo_labels(face, contrast)
    assert set(np.flatnonzero(labels == survey.RECTO)) == set(np.argsort(face)[-8:])
    assert (labels != survey.RECTO).sum() == (labels == survey.BACKGROUND).sum()
    face[:8] = 90.0  # as many as are wanted reach a face: the limit decides alone
    assert set(np.flatnonzero(survey.pseudo_labels(face, contrast) == survey.RECTO)) == set(range(8))
    assert (survey.pseudo_labels(np.zeros(drawn), contrast) == survey.BACKGROUND).all()


def test_both_faces_are_marked_where_no_side_is_known():
    grey, radius = ring()
    field = shown(grey).bearing.field
    (piece,) = tiles(grey.shape, grey.shape)

    def faces(outward):
        bearing = Bearing(None, Field(field.direction, field.planarity, outward))
        return bank.TileBank(Meter(law), grey, piece, bearing, bank.halo(["face"])).codes("face") > 64 * 20

    one, both = faces(True), faces(False)
    inner, outer = (radius > INNER + 0.5) & (radius < INNER + 2), (radius < OUTER - 0.5) & (radius > OUTER - 2)
    assert one[inner].mean() > 0.95
    assert not one[outer].any()
    assert both[inner].mean() > 0.95
    assert both[outer].mean() > 0.95
    assert (both | ~one).all()


def test_a_vote_keeps_what_is_even_fills_a_pinhole_and_removes_a_speck():
    grey, radius = ring()
    field = shown(grey).bearing.field
    even = np.full(grey.shape, 12_345, np.uint16)
    across.vote(engine(), even, field)
    assert (even == 12_345).all()
    sheet = np.where(np.abs(radius - 22) < 3, 65_535, 0).astype(np.uint16)
    sheet[12, 31, 53], sheet[12, 31, 31] = 0, 65_535
    across.vote(engine(), sheet, field)
    assert sheet[12, 31, 53] > 60_000
    assert sheet[12, 31, 31] < 6_000
