"""Token files read back what was written, and nothing else is read."""

import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from workloads.tokens import read_tokens


@given(tokens=st.lists(st.integers(0, 999), min_size=1), compressed=st.booleans())
def test_token_files_read_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[int], compressed: bool
) -> None:
    content = np.array(tokens, "<u2").tobytes()
    path = tmp_path_factory.mktemp("tokens") / ("set.u16.xz" if compressed else "set.u16")
    path.write_bytes(lzma.compress(content) if compressed else content)
    assert read_tokens(path, 1000).tolist() == tokens
    with pytest.raises(InputError, match=f"found id {max(tokens)}"):
        read_tokens(path, max(tokens))


@given(content=st.binary(max_size=64), suffix=st.sampled_from([".u16", ".u16.xz"]))
def test_any_bytes_are_tokens_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / f"set{suffix}"
    path.write_bytes(content)
    tokens = np.frombuffer(content[: len(content) // 2 * 2], "<u2")
    if suffix == ".u16" and len(content) and len(content) % 2 == 0 and tokens.max() < 256:
        np.testing.assert_array_equal(read_tokens(path, 256), tokens)
    else:
        with pytest.raises(InputError) as caught:
            read_tokens(path, 256)
        assert caught.value.source == str(path)


def test_damaged_token_files_are_refused(tmp_path: Path) -> None:
    plain, packed = tmp_path / "set.u16", tmp_path / "set.u16.xz"
    for content, message in ((b"", "found 0 bytes"), (b"abc", "found 3 bytes")):
        plain.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read_tokens(plain, 65_536)
    whole = lzma.compress(np.arange(1000, dtype="<u2").tobytes())
    packed.write_bytes(whole[:-40])
    with pytest.raises(InputError, match="a whole xz file"):
        read_tokens(packed, 65_536)
    with pytest.raises(InputError, match=r"missing.u16: file: found No such file"):
        read_tokens(tmp_path / "missing.u16", 65_536)


def test_a_small_file_cannot_claim_much_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.u16.xz"
    path.write_bytes(lzma.compress(bytes(64 << 20)))
    assert path.stat().st_size < 16 << 10
    with pytest.raises(InputError, match="when decompressed"):
        read_tokens(path, 65_536)
