"""What is written of a unit: modules with plain names, each once, and nothing that a linter has to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from small_unit import KINDS, SmallKind, small_hardware

from rtl.streams import StreamQueue
from rtl.toolchain import lint
from rtl.top import Top
from rtl.verilog import modules_of, verilog_of


class Pair(wiring.Component):
    """Two equal queues one after the other, and one that is deeper."""

    def __init__(self) -> None:
        bytes_in_turn = stream.Signature(8)
        super().__init__({"source": In(bytes_in_turn), "sink": Out(bytes_in_turn)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.first = first = StreamQueue(8, depth=2)
        m.submodules.second = second = StreamQueue(8, depth=2)
        m.submodules.third = third = StreamQueue(8, depth=5)
        wiring.connect(m, wiring.flipped(self.source), first.source)
        wiring.connect(m, first.sink, second.source)
        wiring.connect(m, second.sink, third.source)
        wiring.connect(m, third.sink, wiring.flipped(self.sink))
        return m


def test_equal_modules_are_written_once_and_used_by_their_names() -> None:
    modules = modules_of(Pair(), "pair")
    # Of each queue the wrapper and what it wraps.
    assert [name for name in modules if name.endswith("_queue")] == ["pair_first_queue", "pair_third_queue"]
    assert set(modules) == {"pair", "pair_first", "pair_third", "pair_first_queue", "pair_third_queue"}
    used = re.findall(r"^  (\w+) (?:first|second|third) \($", modules["pair"], re.MULTILINE)
    assert used == ["pair_first", "pair_first", "pair_third"]


def test_a_module_stands_before_those_that_use_it() -> None:
    modules = modules_of(Pair(), "pair")
    names = list(modules)
    for name, text in modules.items():
        for other in names[names.index(name) + 1 :]:
            assert not re.search(rf"^  {other} \w+ \($", text, re.MULTILINE)


def test_no_place_of_this_computer_stands_in_the_text() -> None:
    text = verilog_of(Pair(), "pair")
    assert "/" not in re.sub(r"//.*|/\*.*?\*/", "", text)
    assert str(Path(__file__).parents[2]) not in text


def _files(modules: dict[str, str], folder: Path) -> list[Path]:
    for name, text in modules.items():
        (folder / f"{name}.v").write_text(text)
    return sorted(folder.iterdir())


def test_a_linter_finds_nothing_in_parts_of_a_unit(tmp_path: Path) -> None:
    assert lint(_files(dict(modules_of(Pair(), "pair")), tmp_path), "pair") == []


@pytest.mark.parametrize("kind", ["lut", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def test_a_linter_finds_nothing_in_a_whole_unit(kind: SmallKind, tmp_path: Path) -> None:
    modules = modules_of(Top(small_hardware(kind).configuration), "unit")
    assert lint(_files(dict(modules), tmp_path), "unit") == []
