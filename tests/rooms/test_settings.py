"""Settings are checked once, come from known places in a known order, and survive JSON."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_nx47.configure import environment_paths, from_mapping, parse_value, resolve, to_json
from gpu_nx47.errors import SettingsError, UsageError
from gpu_nx47.settings import (
    FIRST_SIX,
    FeatureSettings,
    LoadSettings,
    NeuronSettings,
    SegmentSettings,
    Settings,
    split_feature,
)


def settled(*overrides, config=None, environ=None, **cli):
    return resolve(config, overrides, environ or {}, **cli)[0]


# Ranges


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("preset=v12", "preset: expected one of default, v121, got 'v12'"),
        ("seed=-1", "seed: expected an integer from 0"),
        ("seed=1.5", "seed: expected an integer from 0"),
        ("seed=true", "got True"),
        ("backend=cuda", "backend: expected one of auto, gpu, cpu, law, got 'cuda'"),
        ("tile=0,8,8", "tile: expected three integers Z,Y,X from 1"),
        ("tile=8,8", "tile: expected three integers Z,Y,X"),
        ("threads=-1", "threads: expected an integer from 0"),
        ("save=probability,probability", "save: expected each output once"),
        ("save=mask", "save: expected one of probability, normals, features, got 'mask'"),
        ("golden_points=-1", "golden_points: expected"),
        ("overlays=x", "overlays: expected"),
        ("ultra_console_log=2", "ultra_console_log: expected true or false, got 2"),
        ("features.bank=", "features.bank: expected at least one"),
        ("features.bank=grad_mag,grad_mag", "features.bank: expected each feature once"),
        ("features.bank=grad_mag@2,grad_mag@2.0", "features.bank: expected each feature once"),
        ("features.bank=gradmag", "features.bank: expected features among"),
        ("features.fixed=local_var@2", "features.fixed: expected local_var without a scale"),
        ("features.fixed=profile@13", "features.fixed: expected profile@voxels with whole voxels from -12 to 12"),
        ("features.fixed=profile@-0", "profile@voxels"),
        ("features.fixed=profile@1.5", "profile@voxels"),
        ("features.fixed=grad_mag@", "sigma from 0.5 to 8, got 'grad_mag@'"),
        ("features.fixed=grad_mag@8.1", "sigma from 0.5 to 8"),
        ("features.fixed=grad_mag@0.4", "sigma from 0.5 to 8"),
        ("features.fixed=grad_mag@1e0", "sigma from 0.5 to 8"),
        ("features.top_k=0", "features.top_k: expected an integer from 1 to 64, got 0"),
        ("features.redundancy=0", "features.redundancy: expected a number above 0, up to 1"),
        ("neuron.l1=0.1,0.1", "neuron.l1: expected each number once"),
        ("neuron.l2=-1", "neuron.l2: expected a number from 0 to 1"),
        ("neuron.l2=", "neuron.l2: expected at least one number"),
        ("neuron.steps=0", "neuron.steps"),
        ("neuron.rate=nan", "neuron.rate: expected a number above 0, up to 1, got nan"),
        ("neuron.samples=15", "neuron.samples: expected an integer from 16"),
        ("segment.strong=1.1", "segment.strong: expected a number above 0, up to 1, or none"),
        ("segment.ratio=0", "segment.ratio"),
        ("segment.dust=-1", "segment.dust: expected an integer from 0"),
        ("segment.dust_connectivity=18", "segment.dust_connectivity: expected 6 or 26, got 18"),
        ("segment.closing=1,1", "segment.closing: expected three integers"),
        ("segment.element=ball", "segment.element: expected one of box, cross, got 'ball'"),
        ("segment.opening_first=1", "segment.opening_first: expected true or false, got 1"),
        ("segment.opening=-1,0,0", "segment.opening: expected three integers"),
        ("segment.pinholes=65", "segment.pinholes: expected an integer from 0 to 64"),
        ("segment.cavities=2", "segment.cavities: expected true or false"),
        ("segment.frame=-1", "segment.frame: expected an integer from 0 to 64"),
        ("load.low_percentile=-1", "load.low_percentile: expected a number from 0 to 100"),
        ("load.high_percentile=0.5", "load.high_percentile: expected more than load.low_percentile (0.5)"),
        ("load.voxel_size_um=0", "load.voxel_size_um: expected a number above 0"),
    ],
)
def test_a_value_out_of_range_is_named_with_its_rule_and_its_origin(override, says):
    with pytest.raises(SettingsError) as caught:
        settled(override)
    assert says in str(caught.value)
    assert "(from --set)" in str(caught.value)


def test_weak_may_not_exceed_strong():
    with pytest.raises(SettingsError, match=r"segment\.weak: expected at most segment\.strong \(0\.5\), got 0\.6"):
        settled("segment.strong=.5", "segment.weak=.6")
    assert settled("segment.strong=.5", "segment.weak=.5").segment.weak == 0.5


def test_a_settings_error_is_a_usage_error():
    with pytest.raises(UsageError):
        Settings(seed=-1)
    with pytest.raises(SettingsError, match="a table of features"):
        Settings(features={"top_k": 3})  # type: ignore[arg-type]


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().seed = 3  # type: ignore[misc]


def test_a_feature_splits_into_name_and_scale():
    assert split_feature("local_entropy") == ("local_entropy", None)
    assert split_feature("grad_inward@2") == ("grad_inward", 2.0)
    assert split_feature("gaussian@0.5") == ("gaussian", 0.5)
    assert split_feature("profile@-12") == ("profile", -12.0)


# Ways to say a value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-3", -3), (".85", 0.85), ("1e-3", 1e-3), ("true", True), ("None", None), ("null", None),
        ("v121", "v121"), ('"v121"', "v121"), ("[1, 2]", [1, 2]), ("1,1,1", [1, 1, 1]), ("a,b@2", ["a", "b@2"]),
        ("grad_mag@2", "grad_mag@2"), ("", ""), (7, 7), ("1\nseed = 3", "1\nseed = 3"),
    ],
)  # fmt: skip
def test_a_text_stands_for_a_toml_value_or_a_bare_word(text, value):
    found = parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_values_take_the_form_of_their_field():
    settings = settled(
        "features.fixed=grad_mag,laplace", "segment.closing=1,1,1", "segment.ratio=none", "save=features", "neuron.l1=1"
    )
    assert settings.features.fixed == ("grad_mag", "laplace")
    assert settings.segment.closing == (1, 1, 1)
    assert settings.segment.ratio is None
    assert settings.save == ("features",)
    assert settings.neuron.l1 == (1.0,)
    assert isinstance(settings.neuron.l1[0], float)
    assert settled("features.fixed=").features.fixed == ()


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("segment.dsut=1", "did you mean segment.dust"),
        ("dust=1", "did you mean segment.dust?"),
        ("strong_th=.9", "V122's strong_th is segment.strong here"),
        ("zzz=1", "the settings are preset, seed"),
        ("features=1", "did you mean features."),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_names(override, hint):
    with pytest.raises(SettingsError, match="no such setting") as caught:
        settled(override)
    assert hint in str(caught.value)


def test_a_key_without_a_value_is_refused():
    with pytest.raises(SettingsError, match="expected key=value"):
        settled("seed")


# Layers


def test_each_layer_wins_over_the_one_before(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("threads = 2\n[features]\ntop_k = 3\n[segment]\nratio = 0.1\nstrong = 0.9\n")
    environ = {"V122_TOP_K_FEATURES": "4", "V122_TARGET_ACTIVE_RATIO": "0.2"}
    assert settled().features.top_k == 6
    assert settled("preset=v121").segment.strong == 0.85
    assert settled("preset=v121", config=config).segment.strong == 0.9  # though the preset is named later
    assert settled(config=config).features.top_k == 3
    both = settled(config=config, environ=environ)
    assert (both.features.top_k, both.segment.ratio) == (4, 0.2)
    chosen = settled("features.top_k=5", "threads=7", "threads=8", config=config, environ=environ)
    assert (chosen.features.top_k, chosen.segment.ratio, chosen.threads) == (5, 0.2, 8)
    assert settled("threads=8", config=config, threads=9).threads == 9
    assert settled("threads=8", config=config, threads=None).threads == 8
    assert settled(tile="1,2,3", save="features").tile == (1, 2, 3)


def test_the_preset_of_v121_is_its_published_values():
    settings = settled("preset=v121")
    segment = settings.segment
    assert (segment.strong, segment.weak, segment.ratio, segment.dust) == (0.85, 0.45, 0.03, 100)
    assert segment.dust_connectivity == 26
    assert settings.features.fixed == FIRST_SIX
    assert settings.preset == "v121"
    assert settled("preset=v121", "segment.ratio=none").segment.ratio is None


def test_a_preset_may_stand_in_the_file(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text('preset = "v121"\n')
    assert settled(config=config).segment.weak == 0.45
    assert settled("preset=default", config=config).segment.weak is None


def test_an_error_names_the_layer_it_comes_from(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("threads = -1\n")
    with pytest.raises(SettingsError, match=r"threads: .* \(from file .*c\.toml\)"):
        settled(config=config)
    with pytest.raises(SettingsError, match=r"features\.top_k: .* \(from environment\)"):
        settled(environ={"V122_TOP_K_FEATURES": "many"})
    with pytest.raises(SettingsError, match=r"tile: .* \(from command line\)"):
        settled(tile="8")


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        settled(config=tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("threads = \n")
    with pytest.raises(SettingsError, match="expected TOML"):
        settled(config=broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="expected TOML"):
        settled(config=broken)


def test_the_environment_of_v122_and_what_is_ignored_is_named():
    environ = {
        "V122_ULTRA_CONSOLE_LOG": "1",
        "V122_FULL_PIXEL_TRACE": "1",
        "V122_ULTRA_STEP_LOG": "0",
        "V122_TOP_K_FEATURE": "3",
        "VESUVIUS_ROOT": "/in",
        "VESUVIUS_OUTPUT": "/out",
        "VESUVIUS_FOO": "x",
        "HOME": "/root",
    }
    settings, notes = resolve(None, [], environ)
    assert settings.ultra_console_log is True
    assert settings.features.top_k == 6
    named = {note.split()[2] for note in notes}
    assert named == {"VESUVIUS_FOO", "V122_FULL_PIXEL_TRACE", "V122_TOP_K_FEATURE", "V122_ULTRA_STEP_LOG"}
    assert len(notes) == 4
    assert any("did you mean V122_TOP_K_FEATURES?" in note for note in notes)
    assert [str(path) for path in environment_paths(environ)] == ["/in", "/out"]
    assert environment_paths({"VESUVIUS_ROOT": ""}) == (None, None)
    assert settled(environ={"V122_ULTRA_CONSOLE_LOG": "0"}).ultra_console_log is False
    with pytest.raises(SettingsError, match="ultra_console_log: expected true or false, got 'maybe'"):
        settled(environ={"V122_ULTRA_CONSOLE_LOG": "maybe"})


# JSON

numbers = st.floats(0.001, 1.0)


@given(
    st.builds(
        Settings,
        seed=st.integers(0, 2**64 - 1),
        tile=st.tuples(*[st.integers(1, 512)] * 3),
        save=st.sampled_from([(), ("probability",), ("features", "normals")]),
        features=st.builds(FeatureSettings, top_k=st.integers(1, 64), fixed=st.sampled_from([(), FIRST_SIX])),
        neuron=st.builds(NeuronSettings, l1=st.sets(numbers, min_size=1).map(tuple), rate=numbers),
        segment=st.builds(SegmentSettings, ratio=st.none() | numbers, closing=st.tuples(*[st.integers(0, 9)] * 3)),
        load=st.builds(LoadSettings, voxel_size_um=st.none() | numbers),
    )
)
def test_settings_survive_json(settings):
    assert from_mapping(json.loads(json.dumps(to_json(settings)))) == settings


def test_a_mapping_is_checked_as_well():
    assert from_mapping({}) == Settings()
    with pytest.raises(SettingsError, match=r"segment\.dusty: no such setting"):
        from_mapping({"segment": {"dusty": 3}})
    with pytest.raises(SettingsError, match=r"neuron\.rate"):
        from_mapping({"neuron": {"rate": math.inf}})
