"""Our own wheel, packed again from what is installed: no network, no build tool, equal bytes for equal code."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlparse

from packaging.requirements import Requirement

from gpu_nx47.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTRIBUTION: Final = "gpu-nx47"
PACKAGES: Final = ("gpu_nx47", "cpu_fallback")
_KEPT: Final = ("METADATA", "WHEEL", "entry_points.txt")
"""What of the installed *.dist-info belongs into a wheel, beside licenses/; installers add their own notes."""
_DATE: Final = (1980, 1, 1, 0, 0, 0)
_MODE: Final = 0o100644 << 16
_AGAIN: Final = "Install it again (pip install gpu-nx47, or pip install --editable . in a checkout)."


def pack_own_wheel(folder: Path) -> Path:
    """Write the wheel of the gpu-nx47 that runs here, and return its path.

    Parameters
    ----------
    folder : Path
        Where to write it.

    Raises
    ------
    UsageError
        gpu-nx47 runs without being installed, its installed files were changed, or a checkout's pyproject.toml has
        other dependencies than it had when it was installed: such a wheel would not be what its metadata say.

    Notes
    -----
    Of a plain installation its RECORD names the files, each checked against its hash. An editable one has only metadata
    there; the files are those of the two packages in the checkout.
    """
    try:
        installed = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        raise UsageError(
            f"{DISTRIBUTION} runs from a folder that is not installed: no wheel can be made. {_AGAIN}"
        ) from error
    checkout = _checkout(installed)
    if checkout is None:
        members = _recorded(installed)
    else:
        _refuse_stale(installed, checkout)
        members = _in_packages(Path(_origin(name)).parent for name in PACKAGES)
    described = _metadata(installed)
    (tag,) = [line.partition(":")[2].strip() for line in described["WHEEL"].decode().splitlines() if line[:4] == "Tag:"]
    stem = f"{DISTRIBUTION.replace('-', '_')}-{installed.version}"
    path = folder / f"{stem}-{tag}.whl"
    _write(path, members | {f"{stem}.dist-info/{name}": data for name, data in described.items()}, stem)
    return path


def _write(path: Path, members: dict[str, bytes], stem: str) -> None:
    """Write a wheel: members in order, fixed dates, RECORD last."""
    record = f"{stem}.dist-info/RECORD"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in sorted(members.items())]
    members = {**dict(sorted(members.items())), record: "\n".join([*lines, f"{record},,", ""]).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, _DATE)
            member.external_attr = _MODE
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, data)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _checkout(installed: importlib.metadata.Distribution) -> Path | None:
    """Return the folder of an editable installation; None for a plain one."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(origin["url"]).path))


def _refuse_stale(installed: importlib.metadata.Distribution, checkout: Path) -> None:
    """Refuse metadata of an editable installation that the checkout has left behind."""
    from gpu_nx47._version import __version__

    with (checkout / "pyproject.toml").open("rb") as stream:
        wanted = {str(Requirement(text)) for text in tomllib.load(stream)["project"]["dependencies"]}
    plain = [text for text in installed.requires or () if "extra ==" not in text]
    known = {str(Requirement(text)) for text in plain}
    if wanted != known or installed.version != __version__:
        differing = ", ".join(sorted(wanted ^ known)) or f"{installed.version} installed, {__version__} in the checkout"
        raise UsageError(f"{checkout}: installed with other metadata than it has now ({differing}). {_AGAIN}")


def _recorded(installed: importlib.metadata.Distribution) -> dict[str, bytes]:
    """Return the files of a plain installation, each equal to its hash in RECORD."""
    members = {}
    for entry in installed.files or ():
        if entry.parts[0] not in PACKAGES or "__pycache__" in entry.parts:
            continue
        try:
            data = Path(str(installed.locate_file(entry))).read_bytes()
        except OSError as error:
            raise UsageError(f"{entry}: installed, but it cannot be read: {error}. {_AGAIN}") from error
        if entry.hash is None or entry.hash.mode != "sha256" or entry.hash.value != _digest(data):
            raise UsageError(f"{entry}: differs from what was installed. {_AGAIN}")
        members[entry.as_posix()] = data
    return members


def _in_packages(roots: Iterable[Path]) -> dict[str, bytes]:
    """Return the files of package folders, caches and hidden files left out."""
    members = {}
    for root in roots:
        for path in sorted(root.rglob("*")):
            parts = path.relative_to(root.parent).parts
            if path.is_file() and "__pycache__" not in parts and not path.name.startswith("."):
                members["/".join(parts)] = path.read_bytes()
    return members


def _origin(package: str) -> str:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UsageError(f"the package {package} is not installed. {_AGAIN}")
    return spec.origin


def _metadata(installed: importlib.metadata.Distribution) -> dict[str, bytes]:
    """Return the files of *.dist-info that belong into a wheel, by their path within it."""
    kept = {}
    for entry in installed.files or ():
        if entry.parts[0].endswith(".dist-info"):
            inner = "/".join(entry.parts[1:])
            if inner in _KEPT or entry.parts[1] == "licenses":
                kept[inner] = Path(str(installed.locate_file(entry))).read_bytes()
    return kept
