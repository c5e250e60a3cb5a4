"""Scratchpads against arrays of bytes, as Amaranth's Verilog has them and with their memories rewritten."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from amaranth.hdl import Module, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from compiled import Stream, compile_verilog, port_widths, to_verilog

from rtl.interfaces import SCRATCHPAD_ADDRESS_BITS
from rtl.memories import LaneScratchpad, Scratchpad
from rtl.memory_text import with_plain_memories

CYCLES = 3000


@dataclass(frozen=True)
class Pad:
    """A scratchpad, in items of bytes or of lanes of 32 bits."""

    item_bytes: int
    size: int
    widest: int
    reads: dict[str, tuple[int, bool]]
    writes: dict[str, int]
    whole: tuple[str, ...] = ()

    @property
    def component(self) -> wiring.Component:
        """The component."""
        if self.item_bytes == 1:
            return Scratchpad(
                size_bytes=self.size, line_bytes=self.widest, reads=self.reads, writes=self.writes, whole=self.whole
            )
        reads = {name: lanes for name, (lanes, _) in self.reads.items()}
        return LaneScratchpad(size_bytes=self.size * 4, banks=self.widest, reads=reads, writes=self.writes)

    @property
    def place(self) -> str:
        """What reads call their place."""
        return "address" if self.item_bytes == 1 else "index"


PADS = {
    "aligned": Pad(1, 96, 16, {"a": (16, True), "b": (4, True), "c": (1, False)}, {"w": 16, "v": 4, "u": 1}),
    "halves": Pad(1, 112, 16, {"a": (16, True), "b": (8, False), "c": (4, False), "d": (2, True)}, {"w": 16, "v": 4}),
    "lines": Pad(1, 208, 16, {"a": (16, False), "b": (4, False), "c": (8, True)}, {"w": 16, "v": 8, "u": 4}, ("v",)),
    "one_row": Pad(1, 8, 8, {"a": (4, False), "b": (8, True)}, {"w": 4}),
    "lanes": Pad(
        4, 52, 8, {"a": (8, False), "b": (8, False), "c": (2, False), "d": (1, False)}, {"w": 8, "v": 4, "u": 1}
    ),
    "single_lane": Pad(4, 5, 1, {"a": (1, False)}, {"w": 1}),
}


class SideBySide(wiring.Component):
    """All scratchpads: what goes in, and what comes out, as streams that never wait."""

    def __init__(self) -> None:
        self.pads = {name: pad.component for name, pad in PADS.items()}
        self.ports = {
            f"{name}__{'__'.join(map(str, path))}": (member.flow, value)
            for name, component in self.pads.items()
            for path, member, value in component.signature.flatten(component)
        }
        layouts = [
            data.StructLayout(
                {name: len(Value.cast(value)) for name, (way, value) in self.ports.items() if way == flow}
            )
            for flow in (In, Out)
        ]
        super().__init__({"given": In(stream.Signature(layouts[0])), "got": Out(stream.Signature(layouts[1]))})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        for name, component in self.pads.items():
            m.submodules[name] = component
        m.d.comb += [self.given.ready.eq(1), self.got.valid.eq(1)]
        for name, (flow, value) in self.ports.items():
            if flow == In:
                # A stream without an offer shows garbage.
                given = self.given.payload[name]
                m.d.comb += value.eq(given & self.given.valid.replicate(len(given)))
            else:
                m.d.comb += self.got.payload[name].eq(Value.cast(value))
        return m


class Model:
    """A scratchpad as an array of items; accesses of a cycle at random, and what is to come of them."""

    def __init__(self, name: str, pad: Pad) -> None:
        self.name, self.pad = name, pad
        self.items = [0] * pad.size
        self.bits = 8 * pad.item_bytes
        self.expected: dict[str, list[int] | None] = dict.fromkeys(pad.reads)

    def cycle(self) -> dict[str, int]:
        """The inputs of a cycle."""
        given, written = dict[str, int](), dict[int, int]()
        for port, width in self.pad.writes.items():
            given |= self._write(f"{self.name}__{port}", port, width, written)
        for port, (width, aligned) in self.pad.reads.items():
            place = random.randrange(self.pad.size - width + 1)
            place -= place % width if aligned else 0
            enable = random.random() < 0.7
            given[f"{self.name}__{port}__enable"] = enable
            ignored = random.randrange(width) if aligned else 0
            given[f"{self.name}__{port}__{self.pad.place}"] = place + ignored
            if enable:
                places = range(place, place + width)
                # Of what is written in the same cycle, either may be read.
                self.expected[port] = None if written.keys() & places else [self.items[at] for at in places]
        for place, item in written.items():
            if place < self.pad.size:
                self.items[place] = item
        return given

    def _write(self, prefix: str, port: str, width: int, written: dict[int, int]) -> dict[str, int]:
        step = width if self.pad.item_bytes == 1 else 1
        beyond = random.random() < 0.1
        index = random.getrandbits(SCRATCHPAD_ADDRESS_BITS) if beyond else random.randrange(self.pad.size // step + 2)
        mask = random.choice([random.getrandbits(width), (1 << width) - 1])
        if port in self.pad.whole:
            mask = (1 << width) - 1
        value = random.getrandbits(width * self.bits)
        places = {
            index * step + at: value >> at * self.bits & ((1 << self.bits) - 1) for at in range(width) if mask >> at & 1
        }
        enable = random.random() < 0.7 and not written.keys() & places.keys()
        if enable:
            written.update(places)
        return {
            f"{prefix}__enable": enable,
            f"{prefix}__index": index,
            f"{prefix}__mask": mask,
            f"{prefix}__data": value,
        }

    def check(self, got: data.Layout, payload: int, expected: dict[str, list[int] | None]) -> None:
        """Compare what came out."""
        for port, items in expected.items():
            field = got[f"{self.name}__{port}__data"]
            bits = payload >> field.offset
            found = [bits >> at * self.bits & ((1 << self.bits) - 1) for at in range(len(items or []))]
            assert items is None or found == items, f"{self.name}.{port}"


def rewritten(component: wiring.Component) -> str:
    """Verilog as it is given to people and simulators."""
    return with_plain_memories(to_verilog(component))


@pytest.mark.parametrize("text_of", [rewritten, pytest.param(to_verilog, marks=pytest.mark.slow)])
def test_scratchpads_give_what_was_written_last(text_of: Callable[[wiring.Component], str]) -> None:
    random.seed(7)
    component = SideBySide()
    models = [Model(name, pad) for name, pad in PADS.items()]
    given_layout, got_layout = (getattr(component, end).payload.shape() for end in ("given", "got"))
    payloads, expected = list[int](), list[list[dict[str, list[int] | None]]]()
    for _ in range(CYCLES):
        values = [model.cycle() for model in models]
        payloads.append(sum(value << given_layout[name].offset for inputs in values for name, value in inputs.items()))
        expected.append([dict(model.expected) for model in models])
    with compile_verilog(text_of(component), port_widths(component)).simulation() as simulation:
        _, got = simulation.exchange(Stream("given", payloads), Stream("got", CYCLES + 1))
    for payload, of_models in zip(got.payloads[1:], expected, strict=True):
        for model, one in zip(models, of_models, strict=True):
            model.check(got_layout, payload, one)


def test_rewritten_memories_have_a_process_each_and_loops() -> None:
    text = rewritten(PADS["lines"].component)
    assert text.count("always @(posedge clk) begin : ") == 2
    assert text.count("for (even_row = 0; even_row < 7;") == 1
    assert "odd[6] =" not in text


def test_memories_with_other_reads_keep_their_processes() -> None:
    text = """module top(clk);
  reg [7:0] mem [1:0];
  initial begin
    mem[0] = 8'h01;
    mem[1] = 8'h00;
  end
  always @(posedge clk) begin
    if (enable)
      mem[address] <= data;
  end
  assign read = mem[place];
endmodule
"""
    assert with_plain_memories(text) == text


BYTES = {"size_bytes": 64, "line_bytes": 16, "reads": {"a": (8, True)}, "writes": {"w": 8}}
LANES = {"size_bytes": 64, "banks": 4, "reads": {"a": 4}, "writes": {"w": 2}}


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Scratchpad, BYTES | {"line_bytes": 12}, "line_bytes is 12, must be a power of two"),
        (Scratchpad, BYTES | {"size_bytes": 0}, "size_bytes is 0, must be a positive multiple of 1"),
        (Scratchpad, BYTES | {"reads": {"a": (32, True)}}, "a is 32 wide, must divide 16"),
        (Scratchpad, BYTES | {"writes": {"w": 0}}, "w is 0 wide, must divide 16"),
        (Scratchpad, BYTES | {"writes": {"a": 8}}, r"\['a'\] are both reads and writes"),
        (Scratchpad, BYTES | {"whole": ["a"]}, r"whole names \['a'\], must be among the writes \['w'\]"),
        (LaneScratchpad, LANES | {"banks": 3}, "banks is 3, must be a power of two"),
        (LaneScratchpad, LANES | {"size_bytes": 6}, "size_bytes is 6, must be a positive multiple of 4"),
        (LaneScratchpad, LANES | {"reads": {"a": 3}}, "a is 3 wide, must divide 4"),
    ],
)
def test_what_cannot_be_built_is_refused(
    kind: Callable[..., object], arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**arguments)
