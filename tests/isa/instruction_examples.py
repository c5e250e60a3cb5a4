"""What tests of the instruction set share: random instructions and programs, and a plain storage."""

from collections import defaultdict

import numpy as np
from hypothesis import strategies as st

from isa.instructions import INSTRUCTIONS, End, Halt, Loop, operands_of
from isa.instructions.operands import TOKENS
from isa.instructions.types import SCRATCHPADS
from isa.program import Buffer, Program, Unit

UNIT = Unit("lut", 2, 4, 4, 1 << 12, 1 << 12, 1 << 14, 1 << 12, 1 << 12)


class Bytes:
    """Spaces of bytes, grown as they are written; what was never written reads as 0xEE."""

    def __init__(self, **spaces):
        self.spaces = defaultdict(lambda: np.full(1 << 16, 0xEE, np.uint8))
        for name, content in spaces.items():
            self.put(name, 0, content)

    def put(self, space, address, content):
        data = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
        self.spaces[space][address : address + data.size] = data

    def get(self, space, address, size_bytes, dtype):
        return self.spaces[space][address : address + size_bytes].view(dtype)

    def read(self, region):
        starts = region.address + region.pitch_bytes * np.arange(region.rows)
        return self.spaces[region.space][starts[:, None] + np.arange(region.row_bytes)]

    def write(self, region, data):
        assert data.dtype == np.uint8
        assert data.shape == (region.rows, region.row_bytes)
        starts = region.address + region.pitch_bytes * np.arange(region.rows)
        self.spaces[region.space][starts[:, None] + np.arange(region.row_bytes)] = data


def operand_values(operand):
    """A strategy for the values of an operand."""
    if operand.kind == "choice":
        return st.sampled_from(operand.choices)
    if operand.kind == "tokens":
        return st.frozensets(st.integers(0, TOKENS - 1))
    values = operand.values
    return st.integers(values[0], values[-1]) | st.sampled_from([values[0], values[-1]])


@st.composite
def instructions(draw, classes=INSTRUCTIONS):
    """Any instruction of some classes; what does not go together is put right."""
    chosen = draw(st.sampled_from(classes))
    values = {name: draw(operand_values(operand)) for name, operand in operands_of(chosen).items()}
    if chosen.MNEMONIC == "lmma":
        integers = "fp16" not in (values["activation"], values["weight"])
        values["accumulator"] = "int32" if integers else "fp32"
        if not integers or values["k"] > 8:
            values["inputs"] = "activation"
        if values["inputs"] == "table":
            values["order"] = "blocks"
    if chosen.MNEMONIC == "store" and values["element"].startswith("fp"):
        values["result"] = draw(st.sampled_from(["fp16", "fp32"]))
    return chosen(**values)


_STRAIGHT = tuple(item for item in INSTRUCTIONS if item not in (Loop, End, Halt))
_TEXTS = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"], include_characters=' "\\'), max_size=12)


@st.composite
def programs(draw):
    """Any program, with loops inside each other and buffers of any name."""
    bodies = st.recursive(
        st.lists(instructions(_STRAIGHT), max_size=4),
        lambda inner: st.tuples(instructions((Loop,)), inner, inner).map(
            lambda parts: [parts[0], *parts[1], End(), *parts[2]]
        ),
        max_leaves=6,
    )
    spaces = st.sampled_from(("memory", *SCRATCHPADS))
    roles = st.sampled_from(("input", "weights", "scales", "tables", "output"))
    size = st.integers(0, 1 << 11)
    buffers = st.builds(Buffer, _TEXTS.filter(bool), roles, spaces, size, size, _TEXTS)
    listed = draw(st.lists(buffers, max_size=4, unique_by=lambda item: item.name))
    return Program((*draw(bodies), Halt()), tuple(listed), UNIT)
