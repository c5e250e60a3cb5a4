"""C files are compiled once, whole or not at all; what compiler or processor lack is said."""

import ctypes
import platform
import stat

import pytest

from isa import InputError
from sim.native import KERNELS, cpu
from sim.native.build import library_of

compiled = library_of.__wrapped__


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "bitloom"


def libraries(folder):
    return sorted(folder.glob("native-*/library.so"))


def test_a_library_is_compiled_once(cache_folder):
    first = compiled("measure")
    assert isinstance(first, ctypes.CDLL)
    (path,) = libraries(cache_folder)
    built = path.stat()
    assert compiled("measure").bitloom_time
    assert libraries(cache_folder) == [path]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (built.st_ino, built.st_mtime_ns)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the instructions are those of x86-64")
def test_other_instructions_are_another_library(cache_folder):
    compiled("measure")
    compiled("measure", ("avx2",))
    assert len(libraries(cache_folder)) == 2


def test_a_missing_compiler_is_named_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="C compiler: found nothing, expected one of cc, gcc, clang; install gcc"):
        compiled("measure")


def test_a_compiler_that_fails_says_why_and_leaves_nothing(tmp_path, cache_folder, monkeypatch):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "cc").write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "no space left"\nexit 1\n')
    (tools / "cc").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(RuntimeError, match="no space left"):
        compiled("measure")
    assert [path.name for path in cache_folder.iterdir() if not path.name.endswith(".lock")] == []


def test_a_damaged_library_is_named(cache_folder):
    with pytest.MonkeyPatch.context() as unloaded:
        unloaded.setattr(ctypes, "CDLL", str)  # a loaded library would be found again by its path
        compiled("measure")
    (path,) = libraries(cache_folder)
    path.write_bytes(b"no library")
    with pytest.raises(InputError, match="delete its folder"):
        compiled("measure")


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="cache folder"):
        compiled("measure")


@pytest.mark.parametrize("name", KERNELS)
def test_missing_instructions_are_named_before_anything_is_compiled(name, monkeypatch, cache_folder):
    monkeypatch.setattr(cpu, "cpu_features", lambda: frozenset({"sse2", "avx2"}))
    kernel = KERNELS[name]
    missing = set(kernel.features) - {"avx2"}
    if missing:
        with pytest.raises(InputError, match="needs") as raised:
            kernel.require()
        assert all(f"no {feature}" in str(raised.value) for feature in missing)
        assert kernel.name in str(raised.value)
        assert not cache_folder.exists()
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(InputError, match="found aarch64, expected x86_64"):
        kernel.require()


def test_the_last_cache_has_a_size():
    assert 1 << 18 <= cpu.last_level_cache_bytes() < 1 << 33
