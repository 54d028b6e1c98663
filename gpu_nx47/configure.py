"""From what the user says (preset, TOML file, V122's environment, --set, options) to `Settings`, and back to JSON.

Later layers win: defaults < preset < TOML file < environment < --set < options of the command line.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from gpu_nx47.errors import SettingsError
from gpu_nx47.settings import FIRST_SIX, PRESETS, Settings

PRESET_VALUES: Final[dict[str, dict[str, Any]]] = {
    "default": {},
    "v121": {
        "segment.strong": 0.85,
        "segment.weak": 0.45,
        "segment.ratio": 0.03,
        "segment.dust": 100,
        "segment.dust_connectivity": 26,
        "segment.pinholes": 0,
        "segment.loops": 0,
        "segment.cavities": False,
        "features.fixed": FIRST_SIX,
    },
}
"""The values that each preset lays under the user's own."""

ENVIRONMENT: Final = {
    "V122_TOP_K_FEATURES": "features.top_k",
    "V122_TARGET_ACTIVE_RATIO": "segment.ratio",
    "V122_ULTRA_CONSOLE_LOG": "ultra_console_log",
}
"""V122's variables that still mean something, and the key of each."""
PATH_VARIABLES: Final = ("VESUVIUS_ROOT", "VESUVIUS_OUTPUT")
WITHOUT_EFFECT: Final = {
    "V122_ULTRA_STEP_LOG": "every step is recorded",
    "V122_ULTRA_BIT_TRACE_ARRAYS": "arrays are always traced, whole",
    "V122_ULTRA_BIT_TRACE_LIMIT": "arrays are traced whole, not by their first bytes",
    "V122_FULL_PIXEL_TRACE": "V122 did not read it either",
    "V122_TRACE_PIXEL_BUDGET": "V122 did not read it either",
}
"""V122's variables that mean nothing here, and why."""

_UNITS_S: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "min": 60.0, "s": 1.0}
_DURATION: Final = re.compile(r"(?:(\d+(?:\.\d+)?)\s*(d|h|min|m|s)\s*)+", re.ASCII)

_UNITS_BYTES: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b", re.ASCII | re.IGNORECASE)

_OLD_NAMES: Final = {
    "top_k_features": "features.top_k", "train_max_samples": "neuron.samples", "l1_candidates": "neuron.l1",
    "l2_candidates": "neuron.l2", "max_iter": "neuron.steps", "lr": "neuron.rate", "strong_th": "segment.strong",
    "weak_th": "segment.weak", "dust_min_size": "segment.dust", "target_active_ratio": "segment.ratio",
}  # fmt: skip
"""V122's names of settings, for the hint beside an unknown key."""


def to_json(settings: Settings) -> dict[str, Any]:
    """Return the settings as nested JSON values; `from_mapping` takes them back."""
    return _lists(asdict(settings))


def from_mapping(values: Mapping[str, Any]) -> Settings:
    """Return the settings that a nested mapping (parsed JSON or TOML) describes, over its preset and the defaults.

    Raises
    ------
    SettingsError
        A key is unknown, or a value out of its range.
    """
    flat = flatten(values)
    preset = PRESET_VALUES.get(flat.get("preset", "default"), {})  # an unknown name is refused by Settings itself
    return _build({**preset, **flat}, {})


def resolve(
    config: Path | None,
    overrides: Sequence[str],
    environ: Mapping[str, str],
    **cli: Any,
) -> tuple[Settings, tuple[str, ...]]:
    """Lay all that the user said over the defaults.

    Parameters
    ----------
    config : Path or None
        A TOML file.
    overrides : sequence of str
        `key=value`, later ones win.
    environ : mapping
        Of it, the variables V122_* and VESUVIUS_* are looked at.
    **cli
        Options given on the command line by key; None: not given. Texts are parsed as values of --set are.

    Returns
    -------
    settings : Settings
    notes : tuple of str
        A sentence for each variable that has no effect.

    Raises
    ------
    SettingsError
        A key is unknown, a value out of its range (the message says where it comes from), or the file cannot be read.
    """
    variables, notes = _environment(environ)
    layers: list[tuple[str, dict[str, Any]]] = [
        (f"file {config}", flatten(_read_toml(config)) if config is not None else {}),
        ("environment", variables),
        ("--set", dict(map(_parse_override, overrides))),
        ("command line", {key: parse_value(value) for key, value in cli.items() if value is not None}),
    ]
    preset = "default"
    for origin, layer in layers:
        preset = layer.get("preset", preset)
        if preset not in PRESET_VALUES:
            raise SettingsError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r} (from {origin})")
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in [(f"preset {preset}", PRESET_VALUES[preset]), *layers]:
        merged.update(layer)
        origins.update(dict.fromkeys(layer, origin))
    return _build(merged, origins), notes


def environment_paths(environ: Mapping[str, str]) -> tuple[Path | None, Path | None]:
    """Return the input root and the output folder that V122's environment names (VESUVIUS_ROOT, VESUVIUS_OUTPUT)."""
    root, output = (environ.get(name) for name in PATH_VARIABLES)
    return Path(root) if root else None, Path(output) if output else None


def parse_value(text: Any) -> Any:
    """Return the value that a text stands for: TOML's, with bare words, bare lists (`1,1,1`), `.85` and `none` besides.

    What is not a text is returned as it is.
    """
    if not isinstance(text, str):
        return text
    text = text.strip()
    if text.lower() in ("none", "null"):
        return None
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        document = {}
    if document.keys() == {"value"}:  # a line break in the text would bring other keys
        return document["value"]
    if "," in text and text[0] not in "[{\"'":
        return [parse_value(part) for part in text.split(",") if part.strip()]
    try:
        return float(text)  # .85, which TOML does not know
    except ValueError:
        return text


def parse_duration(value: Any) -> Any:
    """Return the seconds that a text like `8h30m`, `90 s` or `1.5h` stands for; anything else as it is."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value.strip()):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)", value)
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def parse_bytes(value: Any) -> Any:
    """Return the bytes that `4GB` (powers of 1000) or `4GiB` (of 1024) stands for; what is no such text as it is."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    number, unit, binary = match.groups()
    return math.floor(Fraction(number) * (1024 if binary else 1000) ** _UNITS_BYTES[unit.lower()])


def _parse_override(override: str) -> tuple[str, Any]:
    key, equals, value = override.partition("=")
    if not equals:
        raise SettingsError(f"--set {override}: expected key=value, got no '='")
    return key.strip(), parse_value(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path}: cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path}: expected TOML, got: {error}") from error


def _environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the values set by V122's variables, and a note for each that has no effect."""
    values: dict[str, Any] = {}
    notes = []
    for name in sorted(environ):
        if not name.startswith(("V122_", "VESUVIUS_")) or name in PATH_VARIABLES:
            continue
        if name in ENVIRONMENT:
            key = ENVIRONMENT[name]
            values[key] = _switch(environ[name]) if key == "ultra_console_log" else parse_value(environ[name])
        elif name in WITHOUT_EFFECT:
            notes.append(f"The variable {name} is ignored: {WITHOUT_EFFECT[name]}.")
        else:
            near = difflib.get_close_matches(name, [*ENVIRONMENT, *PATH_VARIABLES], n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            notes.append(f"The variable {name} is ignored: it is not known here{hint}")
    return values, tuple(notes)


def _switch(text: str) -> bool | str:
    """Return V122's 0 or 1 as a truth value; anything else as it is, to be refused by its key."""
    return {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}.get(
        text.strip().lower(), text
    )


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping from key, `section.field`, to value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value})
    return flat


def _keys(kind: Any, prefix: str = "") -> dict[str, Any]:
    """Return the type of each setting by its key."""
    hints = get_type_hints(kind)
    found: dict[str, Any] = {}
    for item in fields(kind):
        hint = hints[item.name]
        found.update(_keys(hint, f"{prefix}{item.name}.") if is_dataclass(hint) else {f"{prefix}{item.name}": hint})
    return found


def _build(flat: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    known = _keys(Settings)
    for key in flat:
        if key not in known:
            raise SettingsError(f"{key}: no such setting{_origin(origins, key)}; {_hint(key, known)}")
    sections: dict[str, dict[str, Any]] = {}
    top: dict[str, Any] = {}
    for key, value in flat.items():
        if key == "time_budget":
            value = parse_duration(value)
        if key == "memory":
            value = parse_bytes(value)
        section, dot, name = key.rpartition(".")
        (sections.setdefault(section, {}) if dot else top)[name] = _fit(value, known[key])
    kinds = get_type_hints(Settings)
    try:
        return Settings(**top, **{section: kinds[section](**values) for section, values in sections.items()})
    except SettingsError as error:
        key = str(error).partition(":")[0]
        raise SettingsError(f"{error}{_origin(origins, key)}") from None


def _origin(origins: Mapping[str, str], key: str) -> str:
    return f" (from {origins[key]})" if key in origins else ""


def _hint(key: str, known: Mapping[str, Any]) -> str:
    if key in _OLD_NAMES:
        return f"V122's {key} is {_OLD_NAMES[key]} here"
    by_last = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = list(dict.fromkeys([*by_last, *difflib.get_close_matches(key, known, n=3, cutoff=0.5)]))
    return f"did you mean {' or '.join(near[:3])}?" if near else f"the settings are {', '.join(known)}"


def _fit(value: Any, hint: Any) -> Any:
    """Return a parsed value in the form of its field: lists and single values as tuples, whole numbers as floats."""
    if get_origin(hint) is tuple:
        parts = value if isinstance(value, list | tuple) else () if value == "" else (value,)
        kind = get_args(hint)[0]
        return tuple(_fit(part, kind) for part in parts)
    wants_float = hint is float or float in get_args(hint)
    return float(value) if wants_float and isinstance(value, int) and not isinstance(value, bool) else value


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, list | tuple) else value
