"""Whatever bytes claim to be a program: reader, interpreter, assembler and event model end, with a result or an error
that names what is wrong."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from varied_machines import machine_of

from isa import InputError, disassemble_program, program_bytes, program_of
from isa.assembler import assemble_program
from isa.encoding import decode, encode
from isa.manual_example import EXAMPLE
from isa.program import Program
from sim.functional.interpreter import run_program
from sim.timing.dram import BankModel
from sim.timing.event import ProgramSource, simulate_programs
from sim.timing.tasks import Costs

BYTES = program_bytes(assemble_program(EXAMPLE, "example"))
FEW = 20_000


def execute(program):
    """Run a program everywhere; errors are InputErrors (ProgramError is one)."""
    machine = machine_of("lut")
    memory_model = BankModel(machine.dram, machine.clock_ghz)
    costs = Costs(machine, machine.compute, memory_model)
    source = ProgramSource("fuzz", program, costs)
    memory = np.zeros(min(program.memory_bytes, 1 << 20), np.uint8)
    with suppress(InputError):
        run_program(program, memory, most_instructions=FEW, most_operations=1 << 24)
    with suppress(InputError):
        simulate_programs(machine, [source], memory_model, most_executed=FEW)
    assert assemble_program(disassemble_program(program), "again") == program


@given(data=st.binary(max_size=400))
def test_random_bytes_are_no_program(data):
    with pytest.raises(InputError):
        program_of(data, "random")


@settings(max_examples=150)
@given(places=st.lists(st.tuples(st.integers(0, len(BYTES) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_programs_are_refused_or_run(places):
    damaged = bytearray(BYTES)
    for place, value in places:
        damaged[place] = value
    try:
        program = program_of(bytes(damaged), "damaged")
    except InputError:
        return
    execute(program)


def words():
    """Random 32-byte words that decode, and the example's own words with bytes changed."""
    own = st.sampled_from([encode(instruction) for instruction in assemble_program(EXAMPLE, "example").instructions])
    changes = st.lists(st.tuples(st.integers(0, 31), st.integers(0, 255)), max_size=3)

    def changed(word, places):
        data = bytearray(word)
        for place, value in places:
            data[place] = value
        return bytes(data)

    return st.lists(st.builds(changed, own, changes) | st.binary(min_size=32, max_size=32), min_size=1, max_size=30)


@settings(max_examples=150)
@given(words=words())
def test_random_words_with_a_right_checksum_never_crash_an_executor(words):
    example = assemble_program(EXAMPLE, "example")
    instructions = []
    for word in words:
        with suppress(ValueError):
            instructions.append(decode(word))
    try:
        program = Program((*instructions, example.instructions[-1]), example.buffers, example.unit)
    except ValueError:
        return
    assert program_of(program_bytes(program), "made") == program
    execute(program)


def test_the_undamaged_example_runs_everywhere():
    execute(program_of(BYTES, "example"))
