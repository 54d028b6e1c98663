"""Tiles in a forensic record: in raster order for any number of threads, comparable however they are cut elsewhere."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

import gpu_nx47
from gpu_nx47 import phantom
from gpu_nx47.audit import replay
from gpu_nx47.audit.tiles import tile_differences
from gpu_nx47.journal import MEMORY_NAME, RECORD_NAME
from gpu_nx47.journal.trace import tile_trace
from gpu_nx47.settings import FIRST_SIX, FeatureSettings, NeuronSettings, Settings

FORENSIC = Settings(
    features=FeatureSettings(bank=FIRST_SIX, top_k=2),
    neuron=NeuronSettings(samples=512, steps=6, l1=(1e-3,), l2=(1e-3,)),
    overlays=0,
    threads=1,
    backend="cpu",
    record="forensic",
    tile=(16, 14, 40),
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiles") / "root"
    phantom.write_phantom_root(root, size=40, seeds=[3], train_seeds=[])
    return next((root / "test_images").iterdir())


@pytest.fixture(scope="module")
def done(image):
    output = image.parents[2] / "out"
    result = gpu_nx47.run(image, output, FORENSIC)
    assert result.exit_code == 0
    return output, result.files[0]["selected_features"]


def tiles_of(folder):
    events = map(json.loads, (folder / RECORD_NAME).read_text().splitlines())
    return [e["data"] for e in events if e["event"] == "ARRAY_TRACE" and "tile" in e["data"]]


def test_every_tile_is_traced_in_raster_order(done):
    folder, features = done
    tiles = tiles_of(folder)
    stages = [*(f"feature_{name}_tile" for name in features), "neuron_output_tile"]
    assert [told["stage"] for told in tiles] == stages * (len(tiles) // len(stages))
    places = [told["tile"] for told in tiles[:: len(stages)]]
    assert len(places) > 5
    assert places == sorted(places)
    box = [max(stop for _, stop in axis) for axis in zip(*places, strict=True)]
    assert sum(np.prod([stop - start for start, stop in place]) for place in places) == np.prod(box)
    for told in tiles:
        assert told["shape"] == [stop - start for start, stop in told["tile"]]
        assert told["one_bits"] + told["zero_bits"] == 8 * told["bytes"]
    assert all(len(json.dumps(told)) < 600 for told in tiles)  # what journal/README.md states
    listed = json.loads((folder / MEMORY_NAME).read_bytes())
    assert sum(entry["stage"].endswith("_tile") for entry in listed) == len(tiles)


def test_threads_show_in_nothing(done, image, tmp_path):
    gpu_nx47.run(image, tmp_path, replace(FORENSIC, threads=3))
    kept = [{k: v for k, v in told.items() if k != "rss"} for told in tiles_of(tmp_path)]
    assert kept == [{k: v for k, v in told.items() if k != "rss"} for told in tiles_of(done[0])]


@pytest.mark.parametrize("tile", [None, (40, 40, 40), (9, 40, 23)])
def test_a_replay_with_other_tiles_compares_those_of_the_record(done, image, tile):
    said = []
    machine = replay.Machine("law", tile, 2)
    assert replay.replay_record(done[0], image, machine, list, said.append) == 0
    assert f"{len(tiles_of(done[0]))} tiles, mask)" in said[-2]


@pytest.fixture
def case():
    array = np.random.default_rng(1).integers(0, 2**16, (6, 7, 8)).astype(np.uint16)
    cuts = [((0, 3), (0, 7), (0, 8)), ((3, 6), (0, 4), (0, 8)), ((3, 6), (4, 7), (0, 8))]
    told = []
    for cut in cuts:
        part = np.ascontiguousarray(array[tuple(slice(*ends) for ends in cut)])
        counts = np.bincount(part.reshape(-1), minlength=65_536)
        told.append(tile_trace("probability_map", part, counts, [start for start, _ in cut]))
    return array, told


def test_a_tiles_digest_is_that_of_its_bytes(case):
    array, told = case
    part = np.ascontiguousarray(array[3:6, 4:7], "<u2")
    assert told[2]["digest"] == hashlib.sha256(b"\0" + part.tobytes()).hexdigest()
    assert (told[2]["min"], told[2]["max"], told[2]["sum"]) == (part.min(), part.max(), part.sum(dtype=int))
    assert told[2]["tile"] == [[3, 6], [4, 7], [0, 8]]


def test_a_changed_voxel_is_found_in_its_tile(case):
    array, told = case
    assert tile_differences(told, {"probability_map": array}, True) == []
    array[4, 5, 6] ^= 1
    assert tile_differences(told, {"probability_map": array}, True) == [
        "probability_map: differs in 1 tiles: [[3, 6], [4, 7], [0, 8]]"
    ]


def test_a_tile_left_out_or_told_twice_is_found_and_a_run_cut_short_may_lack_some(case):
    array, told = case
    arrays = {"probability_map": array}
    assert tile_differences(told[:2], arrays, True) == ["probability_map: no tile in the record holds 72 of its voxels"]
    assert tile_differences(told[:2], arrays, False) == []
    assert "told twice" in tile_differences([*told, told[0]], arrays, True)[0]


@pytest.mark.parametrize(
    "tile", [[[0, 3], [0, 7], [0, 9]], [[3, 3], [0, 7], [0, 8]], [[-1, 3], [0, 7], [0, 8]], "x", None]
)
def test_a_tile_that_is_none_is_found(case, tile):
    array, told = case
    (first, *_) = tile_differences([{**told[0], "tile": tile}, *told[1:]], {"probability_map": array}, False)
    assert "which is none of it" in first
    assert "none of it" in tile_differences([told[0]], {}, True)[0]
