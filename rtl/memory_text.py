"""How memories stand in Verilog: Yosys writes a line for every row's initial contents, a process for every port, and in
it a statement for every enable; here they become loops, and one process a memory.

The text is then read by people, compiles sooner, and simulates faster: in a process of its own, every enable of every
port costs time in every cycle, whether anything is written or not. Reads stand before writes in the common process, and
get what was there before, as they do in processes of their own. Only memories with clocked reads alone are rewritten:
elsewhere another process could see a write too early.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["with_plain_memories"]

_NAME = r"(?:\\\S+ |[A-Za-z_$][\w$]*)"
_MEMORY = re.compile(rf"  reg (?:\[\d+:0\] )?({_NAME}) ?\[(\d+):0\];\n")
_ROW = re.compile(rf"    {_NAME}\[\d+\] = (\d+'h0+);\n")
_PROCESS = re.compile(r"  always @\(posedge (\w+)\) begin\n")
_READ_REGISTER = re.compile(rf"  reg (?:\[\d+:0\] )?{_NAME} ?;\n")
_READ = re.compile(rf"      {_NAME} ?<= ({_NAME}) ?\[[^\n]*\];\n")
_ENABLE = re.compile(rf"    if \(({_NAME}) ?(?:\[(\d+)\])?\)\n")
_WRITE = re.compile(rf"      ({_NAME}) ?\[(.*?)\](?:\[(\d+)(?::(\d+))?\])? <= ({_NAME}) ?(?:\[(\d+)(?::(\d+))?\])?;\n")


def with_plain_memories(text: str) -> str:
    """Verilog as Yosys writes it, with its memories rewritten; what does not look as expected stays as it is."""
    lines = text.splitlines(keepends=True)
    written, at = list[str](), 0
    while at < len(lines):
        declared = _MEMORY.fullmatch(lines[at])
        written.append(lines[at])
        at += 1
        if declared:
            memory = _Memory(declared[1], int(declared[2]) + 1)
            at = memory.take(lines, at)
            written += memory.text()
    return "".join(written)


@dataclass(frozen=True)
class _Write:
    """One statement of a write port: a part of a row, and its enable."""

    enable: str
    bit: int | None
    address: str
    low: int | None
    width: int
    data: str
    data_low: int | None

    def follows(self, other: _Write) -> bool:
        """Whether it is the same of the next part."""
        steps = [
            (self.bit, other.bit, 1),
            (self.low, other.low, self.width),
            (self.data_low, other.data_low, self.width),
        ]
        equal = (self.enable, self.address, self.width, self.data) == (
            *(other.enable, other.address, other.width, other.data),
        )
        return equal and all(a is not None and b is not None and a == b + step for a, b, step in steps)


class _Memory:
    """The statements of one memory."""

    def __init__(self, name: str, depth: int) -> None:
        self._name, self._depth = name, depth
        self._label = re.sub(r"\W+", "_", name.strip())
        self._zero: str | None = None
        self._initial, self._writes, self._reads = list[str](), list[list[str]](), list[str]()
        self._clock: str | None = None
        self._before_reads = list[str]()

    def take(self, lines: Sequence[str], at: int) -> int:
        """Take the lines that are of this memory; the first that is not."""
        if lines[at] == "  initial begin\n":
            end = lines.index("  end\n", at)
            rows = [_ROW.fullmatch(line) for line in lines[at + 1 : end]]
            self._initial = list(lines[at : end + 1])
            zeros = {row[1] for row in rows if row}
            if all(rows) and len(rows) == self._depth and len(zeros) == 1:
                self._zero = zeros.pop()
            at = end + 1
        while (process := _PROCESS.fullmatch(lines[at])) and _ENABLE.fullmatch(lines[at + 1]):
            end = lines.index("  end\n", at)
            self._clock = process[1]
            self._writes.append(list(lines[at + 1 : end]))
            at = end + 1
        registers = at
        while _READ_REGISTER.fullmatch(lines[registers]):
            registers += 1
        if registers > at and (process := _PROCESS.fullmatch(lines[registers])) and process[1] == self._clock:
            end = lines.index("  end\n", registers)
            self._before_reads, self._reads = list(lines[at:registers]), list(lines[registers + 1 : end])
            at = end + 1
        return at

    def text(self) -> list[str]:
        """Its statements as they shall be."""
        initial, row = self._initial, f"{self._label}_row"
        if self._zero:
            initial = [
                f"  initial begin : {self._label}_contents\n",
                f"    integer {row};\n",
                f"    for ({row} = 0; {row} < {self._depth}; {row} = {row} + 1)\n",
                f"      {self._name}[{row}] = {self._zero};\n",
                "  end\n",
            ]
        ports = [_parse(lines, self._name) for lines in self._writes]
        heads = [f"  always @(posedge {self._clock}) begin\n"]
        if not self._reads or not all(ports):
            separate = [line for lines in self._writes for line in (*heads, *lines, "  end\n")]
            reads = [*self._before_reads, *heads, *self._reads, "  end\n"] if self._reads else []
            return [*initial, *separate, *reads]
        runs = [run for port in ports for run in _runs(port or [])]
        loops = any(len(run) > 1 for run in runs)
        head = f"  always @(posedge {self._clock}) begin : {self._label}_ports\n"
        return [
            *initial,
            *self._before_reads,
            head,
            *([f"    integer {self._label}_part;\n"] if loops else []),
            *self._reads,
            *(line for run in runs for line in self._run_text(run)),
            "  end\n",
        ]

    def _run_text(self, run: list[_Write]) -> Iterator[str]:
        first, count = run[0], len(run)
        row = f"{self._name}[{first.address}]"
        if count == 1:
            part = "" if first.low is None else f"[{first.low + first.width - 1}:{first.low}]"
            source = "" if first.data_low is None else f"[{first.data_low + first.width - 1}:{first.data_low}]"
            bit = "" if first.bit is None else f"[{first.bit}]"
            yield f"    if ({first.enable}{bit})\n"
            yield f"      {row}{part} = {first.data}{source};\n"
            return
        assert first.bit is not None  # noqa: S101
        assert first.low is not None  # noqa: S101
        assert first.data_low is not None  # noqa: S101
        part, width = f"{self._label}_part", first.width
        to, source = (f"[{_place(low, width, part)} +: {width}]" for low in (first.low, first.data_low))
        yield f"    if (|{first.enable}[{first.bit + count - 1}:{first.bit}])\n"
        yield f"      for ({part} = 0; {part} < {count}; {part} = {part} + 1)\n"
        yield f"        if ({first.enable}[{_place(first.bit, 1, part)}])\n"
        yield f"          {row}{to} = {first.data}{source};\n"


def _place(first: int, step: int, part: str) -> str:
    """The lowest bit of the part that a loop is at."""
    offset = part if step == 1 else f"{step} * {part}"
    return f"{first} + {offset}" if first else offset


def _parse(lines: Sequence[str], name: str) -> list[_Write] | None:
    """The statements of a write port; None if one looks otherwise."""
    writes = list[_Write]()
    for first, second in zip(lines[::2], lines[1::2], strict=False):
        enable, write = _ENABLE.fullmatch(first), _WRITE.fullmatch(second)
        if not enable or not write or write[1] != name:
            return None
        low, width = _slice(write[3], write[4])
        data_low, data_width = _slice(write[6], write[7])
        bit = None if enable[2] is None else int(enable[2])
        writes.append(_Write(enable[1], bit, write[2], low, width or data_width, write[5], data_low))
    return writes if len(lines) % 2 == 0 else None


def _slice(high: str | None, low: str | None) -> tuple[int | None, int]:
    """The lowest bit of a part and its width; of a whole value, no bit and no width."""
    if high is None:
        return None, 0
    return int(low or high), int(high) - int(low or high) + 1


def _runs(writes: Sequence[_Write]) -> Iterator[list[_Write]]:
    """Statements that follow each other."""
    run = list[_Write]()
    for write in writes:
        if run and not write.follows(run[-1]):
            yield run
            run = []
        run.append(write)
    if run:
        yield run
