"""Bytes that a vector program moves into a cache of some size, by layer conditions: what one iteration of a loop
touches stays for the next if all of it fits.

The method is that of the layer conditions of Stengel, Treibig, Hager and Wellein, "Quantifying performance bottlenecks
of stencil computations using the execution-cache-memory model" (ICS 2015), for affine addresses. Sets of a cache are
not looked at, and lines are taken whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from sim.simd.program import Address, Instruction, Loop, Variable, VectorProgram

__all__ = ["Traffic", "streams_of"]

_LINE_BYTES = 64
_STREAM_GAP_BYTES = 256

Body = Sequence[Instruction | Loop]


class Traffic:
    """What a program touches, and what it moves into caches; parts of it are looked at once.

    Parameters
    ----------
    program : VectorProgram
    """

    def __init__(self, program: VectorProgram) -> None:
        self._program = program
        self._known: dict[tuple[str, int], dict[str, int]] = {}

    def touched_bytes(self) -> dict[str, int]:
        """Bytes of each buffer that are read or written at all, in whole lines."""
        return self._by_buffer(self._touched("body", self._program.body))

    def traffic_bytes(self, cache_bytes: int) -> dict[str, int]:
        """Bytes of each buffer that are brought into a cache of some size that holds none of them at first."""
        return self._by_buffer(self._traffic(self._program.body, cache_bytes))

    def _by_buffer(self, found: dict[str, int]) -> dict[str, int]:
        return {name: found.get(name, 0) for name in self._program.buffer_bytes}

    def _traffic(self, body: tuple[Instruction | Loop, ...], cache_bytes: int) -> dict[str, int]:
        touched = self._touched("body", body)
        if sum(touched.values()) <= cache_bytes:
            return touched
        total: dict[str, int] = defaultdict(int)
        parts = [(1, self._touched("straight", body))]
        for loop in body:
            if not isinstance(loop, Loop):
                continue
            if sum(self._touched("body", loop.body).values()) <= cache_bytes:
                parts.append((1, self._touched("loop", loop)))
            else:
                parts.append((loop.variable.count, self._traffic(loop.body, cache_bytes)))
        for count, moved in parts:
            for buffer, size in moved.items():
                total[buffer] += count * size
        return total

    def _touched(
        self, what: Literal["body", "loop", "straight"], of: tuple[Instruction | Loop, ...] | Loop
    ) -> dict[str, int]:
        """Of a body, of a loop as a whole, or of a body's instructions outside of loops."""
        # Parts of the program live as long as it does.
        key = what, id(of)
        if key not in self._known:
            body = (of,) if isinstance(of, Loop) else of
            if what == "straight":
                body = tuple(item for item in body if isinstance(item, Instruction))
            self._known[key] = _touched(body)
        return self._known[key]


def streams_of(program: VectorProgram, buffer: str) -> tuple[int, int]:
    """How many places of a buffer are read side by side in an innermost loop, and how many bytes they are apart."""
    most, gap = 1, 0
    for body in _innermost(program.body):
        addresses = (item.address for item in body if isinstance(item, Instruction))
        offsets = sorted({each.offset.constant for each in addresses if each is not None and each.buffer == buffer})
        apart = [after - before for before, after in pairwise(offsets) if after - before > _STREAM_GAP_BYTES]
        if len(apart) + 1 > most:
            most, gap = len(apart) + 1, min(apart)
    return most, gap


def _innermost(body: Body) -> list[Body]:
    loops = [item for item in body if isinstance(item, Loop)]
    return [inner for loop in loops for inner in _innermost(loop.body)] or [body]


def _touched(body: Body) -> dict[str, int]:
    """Bytes of each buffer that are touched while the variables of loops around stand still."""
    groups: dict[tuple[str, tuple[tuple[Variable, int], ...]], list[Address]] = defaultdict(list)
    for address, around in _accesses(body, ()):
        inside = tuple(item for item in address.offset.strides if item[0] in around and item[1])
        groups[address.buffer, tuple(sorted(inside, key=lambda item: abs(item[1])))].append(address)
    sizes: dict[str, int] = defaultdict(int)
    for (buffer, strides), addresses in groups.items():
        sizes[buffer] += _extent(addresses, strides)
    return dict(sizes)


def _accesses(body: Body, around: tuple[Variable, ...]) -> list[tuple[Address, tuple[Variable, ...]]]:
    found = list[tuple[Address, tuple[Variable, ...]]]()
    for item in body:
        if isinstance(item, Loop):
            found += _accesses(item.body, (*around, item.variable))
        elif item.address is not None:
            found.append((item.address, around))
    return found


def _extent(addresses: Sequence[Address], strides: Sequence[tuple[Variable, int]]) -> int:
    """Bytes that accesses with the same strides touch: those that lie side by side run into each other."""
    pieces = list[tuple[int, int]]()
    for address in sorted(addresses, key=lambda item: item.offset.constant):
        first, end = address.offset.constant, address.offset.constant + address.size_bytes
        if pieces and first <= pieces[-1][1] + _LINE_BYTES:
            pieces[-1] = pieces[-1][0], max(end, pieces[-1][1])
        else:
            pieces.append((first, end))
    # Pieces that a loop's steps fill up are one piece.
    count, size = len(pieces), max(end - first for first, end in pieces)
    for variable, stride in strides:
        step = abs(stride)
        if step <= size + _LINE_BYTES:
            size += step * (variable.count - 1)
        else:
            count *= variable.count
    hull = pieces[-1][1] - pieces[0][0] + sum(abs(stride) * (variable.count - 1) for variable, stride in strides)
    return min(count * -(-size // _LINE_BYTES) * _LINE_BYTES, -(-hull // _LINE_BYTES) * _LINE_BYTES)
