"""A unit in Amaranth's own simulator, which needs no build: for shapes beside the one that is compiled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

__all__ = ["SimulatedPins", "simulate"]


class SimulatedPins:
    """`engine_bench.Pins` of a component in a testbench."""

    def __init__(self, context: Any, component: wiring.Component) -> None:
        self._context, self._component = context, component
        self._values: dict[str, Any] = {}

    def get(self, name: str) -> int:
        """The bits of a port."""
        value = self._value(name)
        return int(self._context.get(value)) & (1 << len(value)) - 1

    def set(self, name: str, value: int) -> None:
        """Drive a port."""
        self._context.set(self._value(name), int(value))

    async def settle(self) -> None:
        """Nothing to wait for: what is driven is seen at once."""

    async def edge(self) -> None:
        """The next cycle."""
        await self._context.tick()

    def _value(self, name: str) -> Any:
        if name not in self._values:
            port: Any = self._component
            for part in name.split("__"):
                port = getattr(port, part)
            self._values[name] = Value.cast(port)
        return self._values[name]


def simulate(component: wiring.Component, bench: Callable[[SimulatedPins], Awaitable[None]]) -> None:
    """Run a bench on a component from its reset."""

    async def testbench(context: Any) -> None:
        await bench(SimulatedPins(context, component))

    simulator = Simulator(component)
    simulator.add_clock(1e-6, if_exists=True)
    simulator.add_testbench(testbench)
    simulator.run()
