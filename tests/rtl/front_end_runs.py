"""A front end that is started once, random programs for it, and what the instruction set's front end makes of them."""

from __future__ import annotations

import random

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from compiled import Simulation, Stream

from isa.decoder import DECODER
from isa.front_end import Dispatched, FrontEnd
from isa.instructions import (
    DEEPEST_LOOP,
    INSTRUCTIONS,
    End,
    EngineInstruction,
    Fence,
    Halt,
    Instruction,
    Lmma,
    Loop,
    SetPointer,
    Step,
    Store,
    Sync,
    operands_of,
)
from isa.instructions.types import ENGINES
from isa.program import Program, Unit
from rtl.commands import command_layout
from rtl.configuration import Configuration
from rtl.errors import ErrorCode
from rtl.front_end import FrontEnd as FrontEndInHardware

__all__ = ["CONFIGURATION", "UNIT", "OneRun", "beats", "expected_of", "failing", "program_of", "run"]

UNIT = Unit("lut", 2, 8, 4, 4096, 4096, 4096, 4096, 1024)
CONFIGURATION = Configuration(unit=UNIT, weight_bits=8, instruction_words=128)
ADDRESS = 3 * 4096 - 5 * 128


class OneRun(wiring.Component):
    """Starts the front end once, and keeps what became of it."""

    def __init__(self, configuration: Configuration) -> None:
        self._front_end = FrontEndInHardware(configuration)
        members = self._front_end.signature.members
        ports = {name: members[name] for name in (*ENGINES, "read", "program_words", "position")}
        kept = {"ended": Out(1), "failure": Out(ErrorCode), "cycles": Out(32), "clears": Out(8)}
        super().__init__(ports | kept | {"idle": In(1)})

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.front_end = front_end = self._front_end
        started = Signal()
        m.d.sync += [started.eq(1), self.ended.eq(self.ended | front_end.finished)]
        for name in (*ENGINES, "read"):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(front_end, name))
        m.d.comb += [
            front_end.start.eq(~started),
            front_end.program_address.eq(ADDRESS),
            front_end.program_words.eq(self.program_words),
            front_end.all_idle.eq(self.idle),
            self.position.eq(front_end.position),
        ]
        m.d.sync += [self.cycles.eq(self.cycles + front_end.executing), self.clears.eq(self.clears + front_end.clear)]
        with m.If(front_end.error != ErrorCode.NONE):
            m.d.sync += self.failure.eq(front_end.error)
        return m


def straight(generator: random.Random) -> Instruction:
    """An instruction that is no loop, its pointers and steps within their rings."""
    chosen = generator.choice([item for item in INSTRUCTIONS if item not in (Loop, End, Halt, Step, SetPointer)])
    values = {}
    for name, operand in operands_of(chosen).items():
        if operand.kind == "choice":
            values[name] = generator.choice(operand.choices)
        elif operand.kind == "tokens":
            values[name] = frozenset(number for number in range(operand.bits) if generator.random() < 0.2)
        else:
            ends = operand.values[0], operand.values[-1]
            values[name] = generator.choice([*ends, generator.randint(*ends)])
    if chosen is Lmma:
        values |= {"activation": "int8", "weight": "int2", "accumulator": "int32", "inputs": "activation"}
    if chosen is Store:
        values |= {"element": "int32", "result": "fp16"}
    return chosen(**values)


def body(generator: random.Random, rings: dict[int, int], depth: int) -> list[Instruction]:
    instructions: list[Instruction] = []
    for _ in range(generator.randrange(1, 6)):
        kind = generator.random()
        pointer = generator.randrange(DECODER.pointers)
        if kind < 0.15 and depth < DEEPEST_LOOP:
            inner = body(generator, rings, depth + 1)
            instructions += [Loop(count=generator.randrange(1, 4)), *inner, End()]
        elif kind < 0.5:
            ring = rings[pointer]
            stride = (
                generator.choice([ring, -ring, generator.randint(-ring, ring)]) if ring else generator.randint(-99, 99)
            )
            instructions.append(Step(target=pointer, stride_bytes=stride))
        else:
            instructions.append(straight(generator))
    return instructions


def program_of(generator: random.Random) -> Program:
    """A program that sets every pointer and fits the instruction store."""
    while True:
        rings = {
            number: generator.choice([0, 1, generator.randrange(2, 1 << 20)]) for number in range(DECODER.pointers)
        }
        bases = {number: generator.choice([0, generator.randrange(1 << 47)]) for number in rings}
        setting = [SetPointer(target=key, base=bases[key], ring_bytes=ring) for key, ring in rings.items()]
        instructions = (*setting, *body(generator, rings, 0), *body(generator, rings, 0), Halt())
        if len(instructions) <= CONFIGURATION.instruction_words:
            return Program(instructions, (), UNIT)


def expected_of(program: Program) -> tuple[dict[str, list[int]], int, int]:
    """Commands of every engine, cycles and fences."""
    front_end, commands, cycles, fences = FrontEnd(program), {engine: [] for engine in ENGINES}, 0, 0
    while not front_end.halted:
        done = front_end.execute()
        cycles += 1
        fences += isinstance(done.instruction, Fence)
        if isinstance(done.instruction, EngineInstruction):
            commands[done.instruction.engine].append(payload(done))
    return commands, cycles, fences


def payload(dispatched: Dispatched) -> int:
    instruction = dispatched.instruction
    values = {"sync": int(isinstance(instruction, Sync))}
    for name, operand in operands_of(type(instruction)).items():
        value = getattr(instruction, name)
        if operand.kind == "pointer":
            values[name] = dispatched.addresses[name] % (1 << DECODER.address_bits)
        elif operand.kind == "tokens":
            values[name] = sum(1 << number for number in value)
        elif operand.kind == "choice" and name != "unit":
            values[name] = operand.choices.index(value)
        elif operand.kind == "number":
            values[name] = value - operand.least
    return command_layout(instruction.engine).const({k: v for k, v in values.items() if k != "unit"}).as_value().value


def beats(words: list[bytes], bus_bytes: int) -> list[int]:
    """The data stream of a fetch; what is behind the program is anything."""
    text = b"".join(words)
    text += bytes(-len(text) % bus_bytes)
    pieces = [text[start : start + bus_bytes] for start in range(0, len(text), bus_bytes)]
    return [int.from_bytes(piece, "little") | 1 << 8 * bus_bytes + 1 for piece in pieces]


def check_requests(requests: list[int], count: int, bus_bytes: int) -> None:
    """The program is asked for once, in bursts that AXI4 allows."""
    place = ADDRESS
    for request in requests:
        beats = (request >> DECODER.address_bits) + 1
        assert request % (1 << DECODER.address_bits) == place
        assert place // 4096 == (place + beats * bus_bytes - 1) // 4096
        place += beats * bus_bytes
    assert place == ADDRESS + count * bus_bytes


def run(
    built, words: list[bytes], expected: dict[str, list[int]], pace: float = 1.0
) -> tuple[Simulation, dict[str, list[int]]]:
    configuration, library = built
    simulation = library.simulation(program_words=len(words), idle=1)
    data = beats(words, configuration.bus_bytes)
    streams = [Stream("read__data", data, pace), Stream("read__request", len(data), pace)]
    streams += [Stream(engine, len(expected[engine]) + 1, pace) for engine in ENGINES]
    moved = simulation.exchange(*streams, cycles=4000, seed=1)
    check_requests(moved[1].payloads, len(data), configuration.bus_bytes)
    return simulation, {engine: stream.payloads for engine, stream in zip(ENGINES, moved[2:], strict=True)}


def failing(built, *words: bytes, count: int | None = None, bad_beat: int | None = None) -> tuple[ErrorCode, int]:
    configuration, library = built
    with library.simulation(program_words=len(words) if count is None else count, idle=1) as simulation:
        data = beats(list(words), configuration.bus_bytes)
        if bad_beat is not None:
            data[bad_beat] |= 1 << 8 * configuration.bus_bytes
        # The command that never comes keeps the clock running.
        streams = Stream("read__data", data, 0.2), Stream("read__request", len(data)), Stream("load", 1)
        simulation.exchange(*streams, cycles=300)
        assert simulation["ended"] == 0
        executed = simulation["cycles"]
        simulation.exchange(Stream("load", 1), cycles=20)
        assert simulation["cycles"] == executed, "it has not stopped"
        return ErrorCode(simulation["failure"]), simulation["position"]
