"""Wheels made up for the tests."""

import zipfile

import pytest


@pytest.fixture
def fake_wheel():
    """Return a function that writes a wheel of no code: fake_wheel(folder, "name", "1.0", requires=[...], tag=...)."""

    def make(folder, name, version, requires=(), tag="py3-none-any", licence="MIT"):
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{name.replace('-', '_')}-{version}"
        path = folder / f"{stem}-{tag}.whl"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", f"License: {licence}"]
        lines += [f"Requires-Dist: {requirement}" for requirement in requires]
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{stem}.dist-info/METADATA", "\n".join([*lines, "", "text"]))
            archive.writestr(f"{stem}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        return path

    return make
