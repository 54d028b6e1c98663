"""What the record says of arrays: fingerprints that no tiling shows in, levels, and settings that are kept."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpu_fallback import law
from gpu_nx47 import tables
from gpu_nx47.configure import from_mapping, resolve
from gpu_nx47.engine import tiles
from gpu_nx47.errors import SettingsError
from gpu_nx47.journal.fingerprint import fingerprint_text, joined, tile_sums
from gpu_nx47.journal.trace import array_trace, exact_statistics

SHAPE = (5, 7, 9)


def by_definition(codes):
    """Every voxel alone, in Python's integers."""
    x, y0, z0, y1, z1 = ([int(w) | 1 for w in tables.draws(0, 0x66696E67 + k, 0, max(SHAPE))] for k in range(5))
    return tuple(
        sum(int(codes[p]) * x[p[2]] * y[p[1]] * z[p[0]] for p in np.ndindex(codes.shape)) % 2**64
        for y, z in ((y0, z0), (y1, z1))
    )


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint8"])
def test_a_fingerprint_is_its_definition(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    codes = np.random.default_rng(1).integers(low, high, SHAPE, endpoint=True).astype(dtype)
    assert tile_sums(law, codes, (0, 0, 0)) == by_definition(codes)


@settings(max_examples=40, deadline=None)
@given(st.tuples(*(st.integers(1, n) for n in SHAPE)), st.permutations(range(4)))
def test_no_tiling_or_order_shows_in_a_fingerprint(tile, order):
    codes = np.random.default_rng(2).integers(-(2**15), 2**15, SHAPE).astype(np.int16)
    parts = [tile_sums(law, np.ascontiguousarray(codes[t.core]), t.start) for t in tiles(SHAPE, tile)]
    parts.sort(key=lambda part: (part[0] >> order[0]) & 0xFFFF)
    assert joined(*parts) == tile_sums(law, codes, (0, 0, 0))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 314), st.integers(0, 314), st.integers(1, 2**16 - 1))
def test_a_changed_or_moved_code_shows_in_a_fingerprint(place, other, change):
    codes = np.random.default_rng(3).integers(0, 2**16, SHAPE).astype(np.uint16)
    whole = tile_sums(law, codes, (0, 0, 0))
    changed = codes.copy()
    changed.reshape(-1)[place] ^= change
    assert all(a != b for a, b in zip(tile_sums(law, changed, (0, 0, 0)), whole, strict=True))
    moved = codes.copy()
    flat = moved.reshape(-1)
    flat[[place, other]] = flat[[other, place]]
    assert (tile_sums(law, moved, (0, 0, 0)) == whole) == bool((moved == codes).all())
    assert len(fingerprint_text(whole)) == 32


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
def test_the_twin_has_the_laws_fingerprint():
    from cpu_fallback import twin

    codes = np.random.default_rng(4).integers(0, 2**16, SHAPE).astype(np.uint16)
    assert tile_sums(twin, codes, (3, 0, 1)) == tile_sums(law, codes, (3, 0, 1))


def test_levels_say_more_and_more():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    counts = np.bincount(array.reshape(-1), minlength=256)
    light, standard = (array_trace("volume", array, counts, level) for level in ("light", "standard"))
    assert light["digest"] is None
    assert "slices" not in light
    assert len(standard["slices"]) == 2
    assert {k: v for k, v in standard.items() if k not in ("digest", "slices", "rss")} == {
        k: v for k, v in light.items() if k not in ("digest", "rss")
    }
    mask = array_trace("mask_final", array > 9, np.array([10, 14]), "light")
    assert (mask["one_bits"], mask["zero_bits"], len(mask["digest"])) == (14, 178, 64)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("size", [0, 1, 5000])
def test_statistics_are_those_of_the_voxels(dtype, size):
    low, high = (0, 1) if dtype == np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    array = np.random.default_rng(7).integers(low, high, (1, size, 1), endpoint=True).astype(dtype)
    counts = np.bincount(array.reshape(-1).astype(np.int64) - low, minlength=high - low + 1)
    told, values = exact_statistics(array, counts), array.reshape(-1).tolist()
    assert (told["min"], told["max"], told["sum"]) == (
        min(values, default=None),
        max(values, default=None),
        sum(values),
    )
    assert told["mean"] == (sum(values) / size if size else None)
    assert told["one_bits"] == int(np.unpackbits(array.view(np.uint8)).sum())
    assert told["one_bits"] + told["zero_bits"] == 8 * array.nbytes


def test_what_is_recorded_is_a_setting_that_comes_back():
    found, _ = resolve(None, ["record=forensic", "identity_key='a, b.pem'"], {})
    assert (found.record, found.identity_key) == ("forensic", "a, b.pem")
    assert from_mapping({"record": "light"}).record == "light"
    with pytest.raises(SettingsError, match="record: expected one of light, standard, forensic"):
        from_mapping({"record": "all"})
