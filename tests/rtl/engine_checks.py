"""What is claimed of the table and the array engine, at whatever pins they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from array_cases import Cases, regions_of
from engine_bench import Command, EngineBench

from isa.instructions.types import WEIGHT_TYPES
from rtl.commands import code_of
from rtl.errors import ErrorCode

__all__ = ["check_commands", "check_faults", "check_random_addresses", "check_timing"]


async def check_commands(cases: Cases, bench: EngineBench, rate: float, count: int, **chosen: Any) -> None:
    """Commands change the scratchpad as the instructions do, and are done no earlier."""
    commands = [cases.command(**chosen) for _ in range(count)]
    golden = bench.storage()
    seen = await bench.run(commands, rate)
    contents = []
    for command in commands:
        command.instruction.execute(golden, command.at)
        contents.append(golden.spaces[cases.result].copy())
    assert not seen.errors
    assert len(seen.done) == count
    assert count - 1 in seen.contents
    for number, content in seen.contents.items():
        assert (content == contents[number]).all(), f"command {number} of {rate}: {commands[number]}"


async def check_timing(cases: Cases, bench: EngineBench, count: int) -> None:
    """Commands follow each other without a gap, each works for its cycles, and its tokens come when they should.

    Commands whose blocks take fewer steps than it takes to write them are left out: the engine waits for those.
    """
    drawn = (cases.command() for _ in range(100 * count))
    commands = list(islice((command for command in drawn if cases.flows(command.instruction)), count))
    assert len(commands) == count
    seen = await bench.run(commands)
    cycles = [cases.cycles(command.instruction) for command in commands]
    assert seen.working_cycles == sum(cycles)
    assert seen.accepted == [sum(cycles[:number]) for number in range(len(commands))]
    latency_cycles = cases.configuration.array_pipeline_cycles - 1
    expected = [begin + own + latency_cycles for begin, own in zip(seen.accepted, cycles, strict=True)]
    assert seen.done == expected


async def check_faults(cases: Cases, bench: EngineBench) -> None:
    """Commands that the unit cannot execute end with the error that they have, and the next one is executed."""
    for command, error in _faults(cases):
        seen = await bench.run([command])
        assert seen.errors == [error], f"{command}: {seen.errors}"
        assert len(seen.done) == 1
        await check_commands(cases, bench, 1.0, 2)


async def check_random_addresses(cases: Cases, bench: EngineBench, count: int) -> None:
    """The error is there if, and only if, something lies outside of its scratchpad; and nothing outside is written."""
    wrong = 0
    for _ in range(count):
        command = _moved(cases, cases.command())
        golden = bench.storage()
        inside = all(golden.holds(region) for region in regions_of(command.instruction, command.at))
        seen = await bench.run([command])
        assert seen.errors == ([] if inside else [ErrorCode.ILLEGAL_ADDRESS]), f"{command}: {seen.errors}"
        assert len(seen.done) == 1
        if inside:
            command.instruction.execute(golden, command.at)
            assert (bench.result.content == golden.spaces[cases.result]).all()
        wrong += not inside
    assert count // 4 < wrong < count
    await check_commands(cases, bench, 1.0, 20)


def _moved(cases: Cases, command: Command) -> Command:
    """Another address for one of the pointers: around the end of its scratchpad, or far beyond it."""
    at = dict(command.at)
    pointer = random.choice(list(at))
    region = regions_of(command.instruction, at)[list(at).index(pointer)]
    step = cases.alignment(pointer)
    end = cases.configuration.unit.size_bytes(region.space) - (region.end - region.address)
    if random.random() < 0.8:
        at[pointer] = max(0, end // step + random.randint(-2, 3)) * step
    else:
        at[pointer] = random.choice([at[pointer] + (1 << random.randint(12, 47)), (1 << 48) - step])
    return replace(command, at=at)


def _faults(cases: Cases) -> Iterator[tuple[Command, ErrorCode]]:
    for raw in (*_wrong_codes(cases), *_wrong_shapes(cases)):
        yield replace(cases.command(), raw=raw), ErrorCode.ILLEGAL_INSTRUCTION
    for pointer in cases.command().at:
        step = cases.alignment(pointer)
        if step > 1:
            command = cases.command()
            at = {**command.at, pointer: command.at[pointer] + random.randrange(1, step)}
            yield replace(command, at=at), ErrorCode.MISALIGNED_ADDRESS
    if cases.inputs == "table":
        yield replace(cases.command(rows=2), raw={"pitch_bytes": 1}), ErrorCode.MISALIGNED_ADDRESS


def _wrong_codes(cases: Cases) -> Iterator[dict[str, int]]:
    yield {"activation": code_of("array", "activation", "fp16")}
    yield {"activation": 15}
    if cases.kind == "lmma":
        unsupported = [name for name in WEIGHT_TYPES if name not in cases.configuration.weight_types]
        for code in (*(code_of("array", "weight", name) for name in unsupported), 31):
            yield {"weight": code}
        yield {"order": code_of("array", "order", "rows")}
        yield {"accumulator": code_of("array", "accumulator", "fp32")}
        yield {"inputs": 1 - code_of("array", "inputs", cases.inputs)}


def _wrong_shapes(cases: Cases) -> Iterator[dict[str, int]]:
    """Sizes are one more than the bits that stand for them."""
    unit = cases.configuration.unit
    for name in ("m", "n", "k") if cases.kind == "lmma" else ("k",):
        size = getattr(unit, name)
        yield from ({name: bits} for bits in (0, size, 7) if bits != size - 1)
