"""The manual says what the instruction set is, and its program is right."""

import re
from pathlib import Path

import numpy as np
import pytest
from instruction_examples import Bytes

from isa import assemble, assemble_program
from isa.decoder import word_of
from isa.front_end import FrontEnd
from isa.instructions import INSTRUCTIONS, EngineInstruction
from isa.instructions.types import ACTIVATION_TYPES, ENGINES, SCRATCHPADS, WEIGHT_TYPES
from isa.layouts import pack_weights
from isa.manual import manual, summary, syntax
from isa.manual_example import EXAMPLE

ISA = Path(__file__).parents[2] / "isa"
MANUAL = (ISA / "MANUAL.md").read_text(encoding="utf-8")


def section(instruction):
    return MANUAL.split(f"### `{syntax(instruction)}`\n")[1].split("\n### ")[0]


def test_the_committed_manual_is_the_generated_one():
    assert manual() == MANUAL, "run: bitloom isa doc --out isa/MANUAL.md"


@pytest.mark.parametrize("instruction", INSTRUCTIONS, ids=lambda item: item.MNEMONIC)
def test_an_instruction_is_described_with_bits_values_meanings_and_an_example(instruction):
    text = section(instruction)
    assert " ".join(summary(instruction).split()) in " ".join(text.split())
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows[0] == ["0 to 7", "opcode", f"0x{instruction.OPCODE:02x}", ""]
    for cells, field in zip(rows[1:], word_of(instruction).fields, strict=True):
        last = field.offset + field.width - 1
        assert cells[0] == (f"{field.offset} to {last}" if field.width > 1 else f"{field.offset}")
        assert re.match(rf"`{field.name}`", cells[1])
        assert all(f"{code} `{name}`" in cells[2] for code, name in enumerate(field.choices))
        assert cells[3] == field.meaning
    (example,) = re.findall(r"```\n(.*)\n```", text)
    (assembled,) = assemble(example)
    assert type(assembled) is instruction


def test_engines_spaces_and_types_are_named():
    for name in (*ENGINES, *SCRATCHPADS, *ACTIVATION_TYPES, *WEIGHT_TYPES):
        assert f"`{name}`" in MANUAL
    assert EXAMPLE in MANUAL


def test_the_program_of_the_manual_multiplies():
    """Engines executed in program order; tokens must allow that order, and none may be left out."""
    random = np.random.default_rng(0)
    codes, weights = random.integers(-128, 128, (2, 16)), random.integers(-1, 2, (8, 16))
    row_scales, column_scales = (random.random(size, np.float32) for size in (2, 8))
    program = assemble_program(EXAMPLE, "example")
    contents = {
        "activations": codes.astype(np.int8),
        "weights": pack_weights(weights, 4, 4, WEIGHT_TYPES["ternary"], "planes"),
        "row_scales": row_scales,
        "column_scales": column_scales,
    }
    storage = Bytes()
    for name, content in contents.items():
        assert content.nbytes == program.buffer(name).size_bytes
        storage.put("memory", program.buffer(name).address, content)
    tokens, front_end = [0] * 16, FrontEnd(program)
    while not front_end.halted:
        step = front_end.execute()
        if not isinstance(step.instruction, EngineInstruction):
            tokens = [0] * 16 if step.instruction.MNEMONIC == "fence" else tokens
            continue
        for counter in step.instruction.wait:
            assert tokens[counter], step
            tokens[counter] -= 1
        for region in (*step.instruction.reads(step.addresses), *step.instruction.writes(step.addresses)):
            size = program.memory_bytes if region.space == "memory" else program.unit.size_bytes(region.space)
            assert 0 <= region.address <= region.end <= size, step
        step.instruction.execute(storage, step.addresses)
        for counter in step.instruction.signal:
            tokens[counter] += 1
    outputs = program.buffer("outputs")
    found = storage.get("memory", outputs.address, outputs.size_bytes, "<f4").reshape(2, 8)
    expected = (codes @ weights.T).astype(np.float32) * (column_scales * row_scales[:, None])
    assert np.array_equal(found, expected)


def test_the_table_of_the_readme_lists_every_instruction_with_who_executes_it():
    text = (ISA / "README.md").read_text(encoding="utf-8").split("## The instruction set")[1]
    listed = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5:
            listed |= dict.fromkeys(re.findall(r"`([^`]+)`", cells[1]), cells[2])
    expected = {}
    for instruction in INSTRUCTIONS:
        word = word_of(instruction)
        expected[word.mnemonic] = "front end" if word.on_front_end else word.engine or "the engine that it names"
    assert listed == expected


def test_the_code_of_the_readme_runs():
    text = (ISA / "README.md").read_text(encoding="utf-8").split("## The instruction set")[1]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(code, names)  # noqa: S102
    assert names["program"] == assemble_program(EXAMPLE)
