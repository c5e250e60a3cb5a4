"""The table of registers: that it can be what hardware, driver and description are made of."""

from __future__ import annotations

from isa.instructions.types import ENGINES
from isa.program import Unit
from rtl.configuration import Configuration
from rtl.registers import ADDRESS_BITS, COUNTERS, REGISTERS, SOURCES, WORD_BYTES, description, register

CONFIGURATION = Configuration(
    unit=Unit("mac", 4, 32, 8, 1024, 2048, 0, 8192, 512, queue_depth=6), weight_bits=8, bus_bytes=16
)


def test_registers_follow_each_other_and_fit_the_address() -> None:
    places = [item.offset + WORD_BYTES * word for item in REGISTERS for word in range(item.words)]
    assert places == list(range(0, len(places) * WORD_BYTES, WORD_BYTES))
    assert places[-1] < 1 << ADDRESS_BITS


def test_names_are_unique() -> None:
    assert len({item.name for item in REGISTERS}) == len(REGISTERS)


def test_fields_lie_in_their_register_and_not_over_each_other() -> None:
    for item in REGISTERS:
        bits = [bit for part in item.fields for bit in range(part.lowest, part.lowest + part.width)]
        assert len(set(bits)) == len(bits)
        assert 0 <= min(bits) <= max(bits) < 8 * WORD_BYTES * item.words
        assert item.mask(*(part.name for part in item.fields)) == sum(1 << bit for bit in bits)


def test_constants_say_how_the_unit_is_built() -> None:
    said = {
        (item.name, part.name): item.extract(part.name, item.value(CONFIGURATION))
        for item in REGISTERS
        for part in item.fields
        if part.constant
    }
    assert bytes.fromhex(f"{said['magic', 'magic']:08x}")[::-1] == b"bitl"
    assert said["shape", "kind"] == 1
    assert [1 << said["shape", f"{name}_exponent"] for name in "mnk"] == [4, 32, 8]
    assert said["datapath", "weight_bits"] == 8
    assert 1 << said["datapath", "scale_lanes_exponent"] == CONFIGURATION.scale_lanes
    assert 1 << said["memory_port", "bus_bytes_exponent"] == 16
    assert 1 << said["memory_port", "instruction_words_exponent"] == CONFIGURATION.instruction_words
    assert 1 << said["memory_port", "outstanding_reads_exponent"] == CONFIGURATION.outstanding_reads
    assert said["queue", "depth"] == 6
    assert [said[f"{name}_bytes", "bytes"] for name in ("activation", "weight", "table", "accumulator", "scale")] == [
        *(1024, 2048, 0, 8192, 512)
    ]


def test_every_engine_is_counted_and_can_be_blamed() -> None:
    for engine in ENGINES:
        assert {f"{engine}_cycles", f"{engine}_commands"} <= set(COUNTERS)
    assert SOURCES[: len(ENGINES)] == ENGINES
    assert len(SOURCES) <= 1 << register("status").field("source").width


def test_the_description_has_every_register_with_its_address_and_value() -> None:
    lines = description(CONFIGURATION).splitlines()
    for item in REGISTERS:
        (line,) = (line for line in lines if f"| `{item.name}` |" in line)
        assert line.startswith(f"| {item.offset:#05x} |")
        assert f"| {item.value(CONFIGURATION):#x} |" in line
    assert max(map(len, lines[:7])) <= 120
