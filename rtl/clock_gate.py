"""A clock that stands still while a part of the unit has nothing to do."""

from __future__ import annotations

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal, Signal, Value

__all__ = ["add_gated_domain"]


def add_gated_domain(m: Module, name: str, *, opens: Value) -> None:
    """Add a clock domain to a module and all within: that of `sync`, without the edges at the end of other cycles.

    It saves the energy of the clock tree where an enable at every register saves that of what follows them, and a
    compiled simulation skips all logic of a domain whose clock has no edge. The gate is a register at the falling edge
    and an AND, so that the clock is free of glitches; a library's own clock gate can take their place.

    Registers of the domain must hold what they have whenever the clock may stand still, so that with a clock that never
    does the unit is the same. Amaranth's own simulator sees the gated edge after registers of `sync` have changed,
    where Verilog's event order has both at once: it cannot simulate what has such a domain.

    Parameters
    ----------
    m : Module
    name : str
        Of the domain, which is reset as `sync` is.
    opens : Value
        Whether the cycle ends with an edge; from registers, half a cycle before.
    """
    gated = ClockDomain(name, local=True)
    falling = ClockDomain(f"{name}_gate", clk_edge="neg", reset_less=True, local=True)
    m.domains += [gated, falling]
    is_open = Signal(name=f"{name}_open")
    m.d[falling.name] += is_open.eq(opens | ResetSignal())
    m.d.comb += [
        falling.clk.eq(ClockSignal()),
        gated.clk.eq(ClockSignal() & is_open),
        gated.rst.eq(ResetSignal()),
    ]
