"""Every kernel file compiles for every architecture, to code that neither fuses nor flushes; no cubin is stale."""

import re
from itertools import product

import fakecupy
import numpy as np
import pytest

from cpu_fallback import law
from gpu_nx47 import kernels
from gpu_nx47.errors import BackendUnavailableError, UsageError
from gpu_nx47.kernels import _loader, cubins

FILES = _loader.files()


@pytest.fixture(scope="session")
def nvrtc():
    try:
        cubins.nvrtc()
    except BackendUnavailableError as error:
        pytest.skip(str(error))


def test_every_port_has_its_file():
    ported = {vars(kernels)[name].__module__.rpartition(".")[2] for name in law.OPERATIONS}
    assert set(FILES) == ported


def test_every_file_compiles_for_every_architecture(nvrtc, request, tmp_path):
    """Those that `make wheel` built from this very source are taken as they are."""
    shipped = _loader.HERE / "compiled"
    cache = getattr(request.config, "cache", None)
    made = cubins.build(shipped if shipped.is_dir() else cache.mkdir("cubins") if cache else tmp_path)
    assert len(made) == len(FILES) * 9
    for path, (name, architecture) in zip(made, product(FILES, _loader.ARCHITECTURES), strict=True):
        assert path.name == _loader.cubin_name(name, architecture)
        assert path.read_bytes().startswith(b"\x7fELF")


@pytest.mark.parametrize("name", FILES)
def test_the_code_neither_fuses_nor_flushes(nvrtc, name):
    ptx = cubins.compile_file(name, "75", ptx=True).decode()
    assert ".entry" in ptx
    assert re.findall(r"\bfma\S*|\bmad\.\S*f32\S*|\.ftz\S*|\.approx\S*", ptx) == []
    assert all(".rn" in op for op in re.findall(r"\b(?:sqrt|div|add|mul|sub)\.\S*f(?:32|64)\b", ptx) if "cvt" not in op)


def test_the_search_for_fused_code_finds_it(nvrtc, monkeypatch):
    """With NVRTC's defaults the same source is contracted."""
    monkeypatch.setattr(_loader, "OPTIONS", ("--std=c++17",))
    assert "fma.rn.f32" in cubins.compile_file("_gaussian", "75", ptx=True).decode()


def test_an_error_of_the_source_is_told(nvrtc, monkeypatch):
    monkeypatch.setattr(_loader, "source", lambda name: "extern broken")
    with pytest.raises(UsageError, match=r"_table.cu does not compile for sm_75:\n.*error"):
        cubins.compile_file("_table", "75")


def test_a_line_of_an_error_is_a_line_of_the_file():
    text = _loader.source("_table").splitlines()
    at = text.index('#line 3 "_table.cu"')
    assert text[at + 1] == (_loader.HERE / "_table.cu").read_text().splitlines()[2]


def test_cubins_are_built_once_and_stale_ones_go(nvrtc, tmp_path, monkeypatch):
    monkeypatch.setattr(_loader, "ARCHITECTURES", ("75", "90"))
    monkeypatch.setattr(_loader, "files", lambda: ["_morphology"])
    (tmp_path / "_morphology.sm_75.0123456789abcdef.cubin").write_bytes(b"old")
    made = cubins.build(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(made)
    assert [path.name.split(".")[1] for path in made] == ["sm_75", "sm_90"]
    monkeypatch.setattr(cubins, "compile_file", lambda *_: pytest.fail("compiled again"))
    assert cubins.build(tmp_path) == made


def test_the_name_of_a_cubin_follows_source_and_options(monkeypatch):
    names = [_loader.cubin_name("_table", "75"), _loader.cubin_name("_table", "80")]
    monkeypatch.setattr(_loader, "OPTIONS", (*_loader.OPTIONS, "--use_fast_math"))
    names.append(_loader.cubin_name("_table", "75"))
    monkeypatch.setattr(_loader, "source", lambda name: "other")
    names.append(_loader.cubin_name("_table", "75"))
    assert len(set(names)) == 4


def test_a_shipped_cubin_is_loaded_and_nothing_compiled(device, tmp_path, monkeypatch):
    monkeypatch.setattr(_loader, "HERE", tmp_path)
    for name in ("_table.cu", "nx47.cuh"):
        (tmp_path / name).write_text((cubins.Path(cubins.__file__).parent / name).read_text())
    (tmp_path / "compiled").mkdir()
    library = fakecupy.build.build(_loader.source("_table"), device.folder)
    (tmp_path / "compiled" / _loader.cubin_name("_table", "47")).write_bytes(str(library).encode())
    assert kernels.count(kernels.to_device(np.ones((2, 3, 4), np.bool_))) == 24
    assert device.options == []


def test_the_source_is_compiled_with_the_options_that_keep_the_bits(device):
    kernels.count(kernels.to_device(np.ones((2, 3, 4), np.bool_)))
    assert device.options == [
        (
            "--gpu-architecture=sm_47",
            "--fmad=false",
            "--ftz=false",
            "--prec-div=true",
            "--prec-sqrt=true",
            "--std=c++17",
        )
    ]


def test_a_source_that_does_not_compile_is_an_error_with_the_log(device):
    device.mutations = [("_table", "atomicAdd(&sum, mine)", "atomicAdd(&sum, nothing)")]
    with pytest.raises(
        BackendUnavailableError, match=r"(?s)_table.cu does not compile for sm_47 .*nothing.*--backend cpu"
    ):
        kernels.count(kernels.to_device(np.ones((2, 3, 4), np.bool_)))
