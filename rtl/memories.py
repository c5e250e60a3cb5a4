"""The scratchpads: bytes in lines (`Scratchpad`), and accumulators of 32 bits (`LaneScratchpad`).

Both are one or two memories of rows, each as wide as the widest access. Where accesses begin anywhere, rows alternate
between two memories, so that the two rows that such an access can touch are there in the same cycle:

    even rows │ row 0 │ row 2 │ ...        access of row 0's end and row 1's beginning:
    odd rows  │ row 1 │ row 3 │ ...        even memory at 0, odd memory at 0; of row 1 and 2: even at 1, odd at 0

Who asks for what, and whether it lies within the scratchpad, is the business of the engines.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from rtl.interfaces import LaneRead, LaneWrite, ScratchpadRead, ScratchpadWrite

__all__ = ["LaneScratchpad", "Scratchpad"]

_BYTE_BITS = 8
_LANE_BITS = 32


class Scratchpad(wiring.Component):
    """A scratchpad of bytes with as many ports as are asked for, none of which ever waits.

    A write is seen by reads from the next cycle on; a read in the same cycle gives the bytes before or after it. Writes
    of several ports in a cycle all take effect if they concern different bytes. Reads beyond the end give anything,
    writes beyond the end do nothing. All bytes are 0 at first, and keep their values in a reset.

    Latency: 1 cycle. Throughput: an access a cycle on every port.

    Parameters
    ----------
    size_bytes : int
    line_bytes : int
        Width of the widest access, a power of two.
    reads : mapping of str to (int, bool)
        Name, width in bytes, and whether addresses are multiples of it (lower bits are then not looked at).
    writes : mapping of str to int
        Name, and width in bytes. Widths divide `line_bytes`.
    whole : collection of str
        The writes whose masks are all ones or all zeros, which costs less.

    Attributes
    ----------
    <name of a read> : ScratchpadRead, in
    <name of a write> : ScratchpadWrite, in

    Raises
    ------
    ValueError
        If a size or width cannot be built.
    """

    def __init__(
        self,
        *,
        size_bytes: int,
        line_bytes: int,
        reads: Mapping[str, tuple[int, bool]],
        writes: Mapping[str, int],
        whole: Collection[str] = (),
    ) -> None:
        _check_power_of_two("line_bytes", line_bytes)
        _check_size("size_bytes", size_bytes, 1)
        widths = {name: width for name, (width, _) in reads.items()} | dict(writes)
        _check_ports({**reads}, {**writes}, widths, line_bytes)
        if unknown := set(whole) - set(writes):
            raise ValueError(f"whole names {sorted(unknown)}, must be among the writes {sorted(writes)}")
        self._reads, self._writes, self._whole = dict(reads), dict(writes), frozenset(whole)
        unaligned = [width for width, aligned in reads.values() if not aligned and width > 1]
        self._memories = 2 if unaligned else 1
        # Two halves of a line are enough where no access that begins anywhere is wider than a half.
        self._row_bytes = line_bytes // 2 if unaligned and max(unaligned) < line_bytes else line_bytes
        self._rows = -(-size_bytes // (self._memories * self._row_bytes))
        ports: dict[str, wiring.Member] = {name: In(ScratchpadRead(width)) for name, (width, _) in reads.items()}
        super().__init__(ports | {name: In(ScratchpadWrite(width)) for name, width in writes.items()})

    def elaborate(self, _platform: object) -> Module:
        """The memories with their ports."""
        m = Module()
        rows = _Rows(m, self._memories, self._rows, self._row_bytes, _BYTE_BITS)
        for name, (width, aligned) in self._reads.items():
            port = getattr(self, name)
            read = rows.read_aligned if aligned or width == 1 else rows.read_anywhere
            m.d.comb += port.data.eq(read(port.enable, port.address, width))
        for name, width in self._writes.items():
            port = getattr(self, name)
            mask = port.mask[0].replicate(width) if name in self._whole else port.mask
            rows.write_aligned(port.enable, port.index, port.data, mask, width)
        return m


class LaneScratchpad(wiring.Component):
    """A scratchpad of elements of 32 bits, read and written as consecutive elements from any one on.

    Element e lies in bank e % banks at row e // banks, so that an access of up to `banks` elements touches every bank
    once; it touches at most two rows, so that the banks are two memories with an enable for each element. Ports are as
    those of `Scratchpad`. Data are shifted by the low bits of the index; where a port has fewer lanes than there are
    banks, by those within its lanes alone.

    Latency: 1 cycle. Throughput: an access a cycle on every port.

    Parameters
    ----------
    size_bytes : int
        A multiple of 4.
    banks : int
        Elements of the widest access, a power of two.
    reads, writes : mapping of str to int
        Names and lanes, which divide `banks`.

    Attributes
    ----------
    <name of a read> : LaneRead, in
    <name of a write> : LaneWrite, in

    Raises
    ------
    ValueError
        If a size or a number of lanes cannot be built.
    """

    def __init__(self, *, size_bytes: int, banks: int, reads: Mapping[str, int], writes: Mapping[str, int]) -> None:
        _check_power_of_two("banks", banks)
        _check_size("size_bytes", size_bytes, _LANE_BITS // _BYTE_BITS)
        _check_ports({**reads}, {**writes}, {**reads, **writes}, banks)
        self._reads, self._writes, self._banks = dict(reads), dict(writes), banks
        self._rows = -(-size_bytes // (2 * banks * _LANE_BITS // _BYTE_BITS))
        ports: dict[str, wiring.Member] = {name: In(LaneRead(lanes)) for name, lanes in reads.items()}
        super().__init__(ports | {name: In(LaneWrite(lanes)) for name, lanes in writes.items()})

    def elaborate(self, _platform: object) -> Module:
        """The memories with their ports."""
        m = Module()
        rows = _Rows(m, 2, self._rows, self._banks, _LANE_BITS)
        for name, lanes in self._reads.items():
            port = getattr(self, name)
            m.d.comb += Value.cast(port.data).eq(rows.read_anywhere(port.enable, port.index, lanes))
        for name, lanes in self._writes.items():
            port = getattr(self, name)
            rows.write_anywhere(port.enable, port.index, Value.cast(port.data), port.mask, lanes)
        return m


class _Rows:
    """One or two memories of rows of `width` items; ports are added to them. Positions count items or lines of them."""

    def __init__(self, m: Module, memories: int, depth: int, width: int, item_bits: int) -> None:
        self._m, self._depth, self._width, self._item_bits = m, depth, width, item_bits
        self._memories = [memory.Memory(shape=item_bits * width, depth=depth, init=[]) for _ in range(memories)]
        for name, each in zip(("even", "odd"), self._memories, strict=False):
            m.submodules[name] = each

    def read_aligned(self, enable: Value, position: Value, width: int) -> Value:
        """The data of a read of `width` items at a multiple of that."""
        ports = [each.read_port() for each in self._memories]
        if width > self._width:
            row = position[_log2(width) :]
            for port in ports:
                self._m.d.comb += [port.en.eq(enable), port.addr.eq(row)]
            return Cat(port.data for port in ports)
        columns = self._width // width
        chosen = self._kept(enable, position[_log2(width) : _log2(self._width) + len(ports) - 1])
        column, which = chosen[: _log2(columns)], chosen[_log2(columns) :]
        for number, port in enumerate(ports):
            this = position[_log2(self._width)] == number if len(ports) > 1 else Const(1)
            self._m.d.comb += [
                port.en.eq(enable & this),
                port.addr.eq(position[_log2(self._width) + len(ports) - 1 :]),
            ]
        row_data = ports[0].data if len(ports) == 1 else Mux(which, ports[1].data, ports[0].data)
        return self._part(row_data, column, width * self._item_bits, width * self._item_bits)

    def read_anywhere(self, enable: Value, position: Value, width: int) -> Value:
        """The data of a read of `width` items from any one on; at most a row."""
        even, odd = (each.read_port() for each in self._memories)
        in_row, is_odd, pair = self._parts(position)
        self._m.d.comb += [
            even.en.eq(enable),
            even.addr.eq(pair + is_odd),
            odd.en.eq(enable),
            odd.addr.eq(pair),
        ]
        begin, swapped = self._kept(enable, in_row), self._kept(enable, is_odd)
        bits = width * self._item_bits
        first = Mux(swapped, odd.data, even.data)
        second = Mux(swapped, even.data[:bits], odd.data[:bits])
        window = self._part(Cat(first, second), begin[_log2(width) :], bits, 2 * bits)
        return self._shifted(window, begin[: _log2(width)])[:bits]

    def write_aligned(self, enable: Value, index: Value, items: Value, mask: Value, width: int) -> None:
        """Write to the line of `width` items with that index."""
        memories = len(self._memories)
        if width > self._width:
            for number, each in enumerate(self._memories):
                half = slice(number * self._width, (number + 1) * self._width)
                bits = slice(half.start * self._item_bits, half.stop * self._item_bits)
                self._write(each, enable, index, items[bits], mask[half])
            return
        columns = self._width // width
        column, rest = index[: _log2(columns)], index[_log2(columns) :]
        for number, each in enumerate(self._memories):
            this = enable & (rest[0] == number) if memories > 1 else enable
            masks = Cat(Mux(column == place, mask, 0) for place in range(columns)) if columns > 1 else mask
            self._write(each, this, rest[memories - 1 :], items.replicate(columns), masks)

    def write_anywhere(self, enable: Value, index: Value, items: Value, mask: Value, width: int) -> None:
        """Write `width` items from any one on; at most a row."""
        in_row, is_odd, pair = self._parts(index)
        backwards = (Const(0, 1) - in_row)[: _log2(width)]
        turned = self._shifted(Cat(items, items), backwards)[: width * self._item_bits]
        spread = Signal(2 * self._width)
        self._m.d.comb += spread.eq(mask << in_row)
        first, second = spread[: self._width], spread[self._width :]
        everywhere = turned.replicate(self._width // width)
        even, odd = self._memories
        self._write(even, enable, pair + is_odd, everywhere, Mux(is_odd, second, first))
        self._write(odd, enable, pair, everywhere, Mux(is_odd, first, second))

    def _write(self, each: memory.Memory, enable: Value, row: Value, row_data: Value, mask: Value) -> None:
        port = each.write_port(granularity=self._item_bits)
        self._m.d.comb += [
            port.addr.eq(row),
            port.data.eq(row_data),
            port.en.eq(Mux(enable & (row < self._depth), mask, 0)),
        ]

    def _parts(self, position: Value) -> tuple[Value, Value, Value]:
        """Where in a row, whether in the odd memory, and in which of its rows a position is."""
        bits = _log2(self._width)
        return position[:bits], position[bits], position[bits + 1 :]

    def _kept(self, enable: Value, value: Value) -> Value:
        """A value as it was in the last cycle with `enable`."""
        if not len(value):  # A register of no bits is nothing that Verilog has.
            return value
        kept = Signal(len(value))
        with self._m.If(enable):
            self._m.d.sync += kept.eq(value)
        return kept

    def _part(self, value: Value, number: Value, step_bits: int, bits: int) -> Value:
        """`bits` bits of a value from a multiple of `step_bits` on."""
        places = 1 << len(number)
        if places == 1:
            return value[:bits]
        part = Signal(bits)
        # A choice and not a shift: simulators take one branch.
        with self._m.Switch(number):
            for place in range(places):
                with self._m.Case(place):
                    self._m.d.comb += part.eq(value[place * step_bits : place * step_bits + bits])
        return part

    def _shifted(self, value: Value, items: Value) -> Value:
        """A value without so many items at its low end."""
        if not len(items):
            return value
        return value >> Cat(Const(0, _log2(self._item_bits)), items)


def _log2(number: int) -> int:
    return number.bit_length() - 1


def _check_power_of_two(name: str, value: int) -> None:
    if value < 1 or value & (value - 1):
        raise ValueError(f"{name} is {value}, must be a power of two")


def _check_size(name: str, value: int, multiple: int) -> None:
    if value < 1 or value % multiple:
        raise ValueError(f"{name} is {value}, must be a positive multiple of {multiple}")


def _check_ports(reads: Mapping[str, Any], writes: Mapping[str, Any], widths: Mapping[str, int], widest: int) -> None:
    if both := set(reads) & set(writes):
        raise ValueError(f"{sorted(both)} are both reads and writes, must be either")
    for name, width in widths.items():
        if width < 1 or widest % width:
            raise ValueError(f"{name} is {width} wide, must divide {widest}")
