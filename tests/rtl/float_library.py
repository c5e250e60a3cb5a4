"""The operations of `rtl.floats` as functions on numpy arrays: a component around them, compiled. No tests are here."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from compiled import to_verilog
from numpy.typing import NDArray

from rtl.floats import FP16, FP32, Divider, FloatFormat, FloatProduct, FloatSum, FromFloat, FromInteger, Rounder
from rtl.simulation import build_library

__all__ = ["FloatBench", "Halves", "Results", "divide", "operate", "operate_halves"]

Bits = NDArray[Any]


class FloatBench(wiring.Component):
    """Every operation with its rounder."""

    def __init__(self) -> None:
        inputs = {"a": 32, "b": 32, "c": 32, "half_a": 16, "half_b": 16, "start": 1}
        outputs = {"product": 32, "sum": 32, "narrowed": 16, "integer_32": 32, "integer_16": 16}
        outputs |= {"widened": 32, "half_sum": 16, "quotient_0": 32, "quotient_1": 32, "done": 1}
        ports = {name: In(width) for name, width in inputs.items()}
        super().__init__(ports | {name: Out(width) for name, width in outputs.items()})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        self._rounders = 0

        def rounded(exact: Any, target: FloatFormat) -> Value:
            rounder = Rounder(source=exact.shape(), target=target)
            m.submodules[f"rounder_{self._rounders}"] = rounder
            self._rounders += 1
            m.d.comb += rounder.exact.eq(exact)
            return rounder.result

        def number(bits: Value, source: FloatFormat) -> Any:
            unpack = FromFloat(source=source)
            m.submodules += unpack
            m.d.comb += unpack.number.eq(bits)
            return unpack.exact

        a, b, c = (number(bits, FP32) for bits in (self.a, self.b, self.c))
        m.submodules.product = product = FloatProduct(a=a.shape(), b=b.shape())
        m.d.comb += [product.a.eq(a), product.b.eq(b), self.product.eq(rounded(product.exact, FP32))]
        m.submodules.sum = total = FloatSum()
        m.d.comb += [total.a.eq(self.a), total.b.eq(self.b), self.sum.eq(rounded(total.exact, FP32))]
        m.d.comb += self.narrowed.eq(rounded(a, FP16))
        for width, target, result in ((32, FP32, self.integer_32), (16, FP16, self.integer_16)):
            m.submodules[f"from_{width}"] = integer = FromInteger(width=width)
            m.d.comb += [integer.integer.eq(self.a), result.eq(rounded(integer.exact, target))]
        wide = [rounded(number(half, FP16), FP32) for half in (self.half_a, self.half_b)]
        m.submodules.half_sum = half_sum = FloatSum()
        m.d.comb += [half_sum.a.eq(wide[0]), half_sum.b.eq(wide[1]), self.widened.eq(wide[0])]
        m.d.comb += self.half_sum.eq(rounded(half_sum.exact, FP16))
        m.submodules.divider = divider = Divider(lanes=2)
        m.d.comb += [divider.start.eq(self.start), divider.divisor.eq(b), self.done.eq(divider.done)]
        m.d.comb += [divider.dividends[0].eq(a), divider.dividends[1].eq(c)]
        m.d.comb += self.quotient_0.eq(rounded(divider.exact[0], FP32))
        m.d.comb += self.quotient_1.eq(rounded(divider.exact[1], FP32))
        return m


@dataclass(frozen=True)
class Results:
    """What came of pairs of fp32 patterns, taken as integers for `integer_32` and, their low half, `integer_16`."""

    product: Bits
    sum: Bits
    narrowed: Bits
    integer_32: Bits
    integer_16: Bits


@dataclass(frozen=True)
class Halves:
    """What came of pairs of fp16 patterns."""

    widened: Bits
    sum: Bits


def operate(a: Bits, b: Bits) -> Results:
    """All operations on fp32 patterns, uint32 [count]."""
    widths = (np.uint32, np.uint32, np.uint16, np.uint32, np.uint16)
    results = [np.empty(len(a), width) for width in widths]
    _call("operate", len(a), a.astype(np.uint32), b.astype(np.uint32), *results)
    return Results(*results)


def operate_halves(a: Bits, b: Bits) -> Halves:
    """All operations on fp16 patterns, uint16 [count]."""
    results = [np.empty(len(a), width) for width in (np.uint32, np.uint16)]
    _call("operate_halves", len(a), a.astype(np.uint16), b.astype(np.uint16), *results)
    return Halves(*results)


def divide(dividends: Bits, divisors: Bits) -> tuple[Bits, int]:
    """Quotients uint32 [count, 2] of uint32 [count, 2] by uint32 [count], and the cycles of the last division."""
    quotients = np.empty(dividends.shape, np.uint32)
    cycles = _call("divide", len(divisors), dividends.astype(np.uint32), divisors.astype(np.uint32), quotients)
    return quotients, cycles


def _call(name: str, count: int, *arrays: Bits) -> int:
    """`arrays` keeps them alive until the call is over."""
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
    return int(getattr(_library(), name)(ctypes.c_size_t(count), *pointers))


@cache
def _library() -> ctypes.CDLL:
    with TemporaryDirectory() as folder:
        source = Path(folder) / "top.v"
        source.write_text(to_verilog(FloatBench()))
        return ctypes.CDLL(str(build_library([source], "top", Path(__file__).with_name("float_bench.cpp"))))
