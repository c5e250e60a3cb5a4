"""The control port, in simulation."""

from __future__ import annotations

from amaranth.sim import Simulator, SimulatorContext
from cocotb_runner import run_cocotb

from isa.program import Unit
from rtl.configuration import Configuration
from rtl.control import Control
from rtl.registers import COUNTERS, REGISTERS, WORD_BYTES, register

CONFIGURATION = Configuration(
    unit=Unit("lut", 2, 8, 4, 1024, 2048, 4096, 8192, 512, queue_depth=6),
    weight_bits=2,
    tables_per_cycle=3,
    array_pipeline_cycles=9,
    scale_pipeline_cycles=11,
)


def test_registers_obey_axi_and_show_what_became_of_a_program() -> None:
    after_reset = {item.name: item.value(CONFIGURATION) for item in REGISTERS}
    passed = run_cocotb(Control(configuration=CONFIGURATION), "bench_control", parameters={"after_reset": after_reset})
    assert len(passed) == 17


def test_a_counter_goes_on_into_its_high_word_and_no_other() -> None:
    control = Control(configuration=CONFIGURATION)
    simulator = Simulator(control)
    simulator.add_clock(1e-6)

    async def read(ctx: SimulatorContext, offset: int) -> int:
        ctx.set(control.bus.araddr, offset)
        ctx.set(control.bus.arvalid, 1)
        ctx.set(control.bus.rready, 1)
        await ctx.tick()
        ctx.set(control.bus.arvalid, 0)
        value = ctx.get(control.bus.rdata)
        assert ctx.get(control.bus.rvalid)
        await ctx.tick()
        assert isinstance(value, int)
        return value

    async def count(ctx: SimulatorContext) -> None:
        for number, name in enumerate(COUNTERS):
            # A run of 2^32 cycles takes too long.
            ctx.set(control._counters[name], 2**32 - 1 + (number << 32))
        ctx.set(control.running, 1)
        ctx.set(control.counts, dict.fromkeys(COUNTERS, 1))
        await ctx.tick()
        ctx.set(control.running, 0)
        for number, name in enumerate(COUNTERS):
            assert await read(ctx, register(name).offset) == 0
            assert await read(ctx, register(name).offset + WORD_BYTES) == number + 1

    simulator.add_testbench(count)
    simulator.run()
