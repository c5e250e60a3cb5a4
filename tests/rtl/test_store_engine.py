"""The store engine against the semantics of its instruction, with a memory that hesitates and keeps to the rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_bench import Command, GoldenStorage
from hypothesis import given, settings
from hypothesis import strategies as st
from store_library import CONFIGURATION, SPACES, Trace, run

from isa.instructions import Store
from isa.instructions.types import ELEMENT_DTYPES, ELEMENT_TYPES, Space
from rtl.commands import code_of
from rtl.engines.store_addition import ElementAdder
from rtl.errors import ErrorCode

UNIT, BUS = CONFIGURATION.unit, CONFIGURATION.bus_bytes
MEMORY_BYTES = 3 * 4096
SIZES = {"memory": MEMORY_BYTES, **{space: UNIT.size_bytes(space) for space in SPACES[1:]}}
ELEMENTS = ("int32", "fp32", "int16")


def store(rows: int, columns: int, *, raw: dict[str, int] | None = None, **given: Any) -> Command:
    """A command with these fields, and these numbers as addresses; the rest is the simplest."""
    at = {name: given.pop(name, 0) for name in ("source", "target")}
    fields = {"space": "memory", "mode": "overwrite", "element": "int32", "result": "int32"} | given
    fields = {"origin": "table" if fields["element"] == "int16" else "accumulator"} | fields
    fields = {"pitch_bytes": columns * ELEMENT_DTYPES[fields["result"]].itemsize} | fields
    return Command(Store(rows=rows, columns=columns, **dict.fromkeys(at, 0), **fields), at, raw or {})


def results_of(element: str) -> tuple[str, ...]:
    """What elements may become."""
    return tuple(name for name in ELEMENT_TYPES if element != "fp32" or name.startswith("fp"))


@st.composite
def commands(draw: st.DrawFn, element: str, result: str, mode: str, step: int = 1) -> Command:
    size = ELEMENT_DTYPES[result].itemsize
    space = draw(st.sampled_from(["memory", "activation"]))
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    pitch = columns * size + step * draw(st.integers(0, 12))
    span = (rows - 1) * pitch + columns * size
    width = ELEMENT_DTYPES[element].itemsize
    origin: Space = "table" if element == "int16" else "accumulator"
    place = draw(st.integers(0, (SIZES[origin] - rows * columns * width) // width)) * width
    start = draw(st.sampled_from([0, 4096 - 64, MEMORY_BYTES - span])) if space == "memory" else 0
    target = start // step * step + step * draw(st.integers(0, 12))
    target = min(target, (SIZES[space] - span) // step * step)
    return store(
        *(rows, columns),
        space=space,
        mode=mode,
        element=element,
        result=result,
        pitch_bytes=pitch,
        source=place,
        target=target,
    )


@st.composite
def overwriting(draw: st.DrawFn) -> list[Command]:
    element = draw(st.sampled_from(ELEMENTS))
    count = draw(st.integers(1, 6))
    return [draw(commands(element, draw(st.sampled_from(results_of(element))), "overwrite")) for _ in range(count)]


@st.composite
def adding(draw: st.DrawFn) -> list[Command]:
    element = draw(st.sampled_from(ELEMENTS))
    result, modes = draw(st.sampled_from(results_of(element))), st.sampled_from(["overwrite", "accumulate"])
    # Whole elements on whole elements: bytes of two of them would be any float.
    step = ELEMENT_DTYPES[result].itemsize
    return [draw(commands(element, result, draw(modes), step)) for _ in range(draw(st.integers(1, 4)))]


def contents(element: str, seed: int) -> dict[Space, Any]:
    """Elements of every size, numbers as floats; memory and activations are small whatever they are read as."""
    random = np.random.default_rng(seed)
    count = SIZES["accumulator"] // 4
    if element == "fp32":
        accumulators = (random.normal(size=count) * 10.0 ** random.integers(-10, 8, count)).astype(np.float32)
        corners = [-0.0, 65519.996, 65520, np.inf, 2.0**-25, 1.5 * 2.0**-24, 2.0**-14, -3e38]
        accumulators[::13] = np.resize(np.array(corners, np.float32), len(accumulators[::13]))
    else:
        shifted = random.integers(-(1 << 31), 1 << 31, count) >> random.integers(0, 31, count)
        accumulators = shifted.astype(np.int32)
    small = {space: random.integers(0, 0x3C, SIZES[space]).astype(np.uint8) for space in SPACES[:2]}
    tables = random.integers(0, 256, SIZES["table"]).astype(np.uint8)
    return {**small, "accumulator": accumulators.view(np.uint8).copy(), "table": tables}


def check(placed: list[Command], seed: int, given: dict[Space, Any] | None = None, **how: Any) -> Trace:
    """Memory and activations are what the instructions make of them, one after the other."""
    element = placed[0].instruction.element
    spaces = contents(element, seed) if given is None else given
    golden = GoldenStorage({name: value.copy() for name, value in spaces.items()})
    for item in placed:
        item.instruction.execute(golden, item.at)
    trace = run(placed, spaces, seed=seed, **how)
    assert not trace.errors
    for space in SPACES:
        wrong = np.flatnonzero(spaces[space] != golden.spaces[space])
        assert not len(wrong), f"{space}, bytes {wrong[:8]} of {len(wrong)}"
    return trace


def words_of(item: Command) -> int:
    """Words of the bus that the rows touch."""
    (region,) = item.instruction.writes(item.at)
    starts = region.address + np.arange(region.rows) * region.pitch_bytes
    return int(((starts + region.row_bytes - 1) // BUS - starts // BUS + 1).sum())


paces = st.sampled_from([0, 0, 0.3, 0.8])


@settings(max_examples=120, deadline=None)
@given(overwriting(), st.integers(0, 1 << 32), paces, paces, st.sampled_from([0, 3, 40]))
def test_rows_are_converted_and_written(
    placed: list[Command], seed: int, idle: float, stall: float, latency_cycles: int
) -> None:
    check(placed, seed, idle=idle, stall=stall, latency_cycles=latency_cycles)


@settings(max_examples=80, deadline=None)
@given(adding(), st.integers(0, 1 << 32), paces, st.sampled_from([0, 3, 40]))
def test_rows_are_added_to_what_is_there(placed: list[Command], seed: int, stall: float, latency_cycles: int) -> None:
    spaces = contents(placed[0].instruction.element, seed)
    random = np.random.default_rng(seed)
    # So small that no sum of halves is infinite.
    words = random.integers(-2000, 2000, SIZES["accumulator"] // 4)
    floats = placed[0].instruction.element == "fp32"
    spaces["accumulator"] = words.astype(np.float32 if floats else np.int32).view(np.uint8)
    spaces["table"] = random.integers(-2000, 2000, SIZES["table"] // 2).astype(np.int16).view(np.uint8)
    check(placed, seed, spaces, stall=stall, latency_cycles=latency_cycles)


def test_rows_are_added_to_what_stores_before_have_written() -> None:
    for first in ("overwrite", "accumulate"):
        placed = [store(2, 3, mode=mode, source=8) for mode in (first, "accumulate", "accumulate")]
        check(placed, 12, latency_cycles=60)


@pytest.mark.parametrize("element", ELEMENTS)
@pytest.mark.parametrize("target", [0, 3])
def test_a_word_is_written_every_cycle(element: str, target: int) -> None:
    for result in results_of(element):
        placed = [store(3, 50, element=element, result=result, target=target) for _ in range(3)]
        trace = check(placed, 1, latency_cycles=60)
        assert trace.beats == sum(map(words_of, placed))
        assert trace.last_beat - trace.first_beat + 1 == trace.beats
        assert (trace.first_beat, trace.done[-1]) == (trace.accepted[0] + 5, trace.last_beat + 1 + 60)


def test_short_rows_of_many_commands_follow_each_other() -> None:
    placed = [store(1, 1, result="fp16", target=40 * place) for place in range(30)]
    trace = check(placed, 2)
    assert trace.last_beat - trace.first_beat + 1 == 30


def test_a_word_is_written_into_the_scratchpad_every_cycle() -> None:
    placed = [store(1, 80, result="int16", space="activation", target=8)] * 2
    trace = check(placed, 3)
    assert list(trace.done - trace.accepted[0]) == [5 + 20 - 1, 5 + 40 - 1]


def test_commands_are_done_in_order_wherever_they_go() -> None:
    placed = [store(2, 4), store(1, 2, space="activation"), store(1, 1), store(1, 9, space="activation", target=40)]
    trace = check(placed, 4, latency_cycles=50)
    assert (np.diff(trace.done) > 0).all()
    assert trace.done[1] == trace.done[0] + 1


def test_long_rows_are_cut_into_bursts() -> None:
    check([store(1, 1000, target=4096 - 40), store(2, 500, target=5, pitch_bytes=6000)], 5)


def test_wrong_combinations_are_refused_and_nothing_is_written() -> None:
    element, result = (
        {name: code_of("store", field, name) for name in ELEMENT_TYPES} for field in ("element", "result")
    )
    wrong = [
        *({"element": element[name]} for name in ("int16", "fp16")),
        {"element": element["fp32"], "result": result["int32"]},
        {"element": element["fp32"], "result": result["int16"]},
        {"element": element["int32"], "result": len(ELEMENT_TYPES)},
        {"element": element["int32"], "origin": code_of("store", "origin", "table")},
        {"element": element["int16"], "origin": code_of("store", "origin", "table"), "result": 7},
    ]
    for raw in wrong:
        refuse(store(2, 3, raw=raw), ErrorCode.ILLEGAL_INSTRUCTION)


@pytest.mark.parametrize(
    "place",
    [
        {"source": 2},
        {"source": 1, "result": "int16"},
        {"target": 2, "mode": "accumulate"},
        {"target": 1, "mode": "accumulate", "result": "fp16"},
        {"pitch_bytes": 14, "mode": "accumulate"},
    ],
)
def test_rows_at_places_that_are_not_built_are_refused(place: dict[str, Any]) -> None:
    refuse(store(2, 3, **place), ErrorCode.MISALIGNED_ADDRESS)


def refuse(item: Command, code: ErrorCode) -> None:
    """The command does nothing, and those around it are executed."""
    spaces = contents("int32", 6)
    golden = GoldenStorage({name: value.copy() for name, value in spaces.items()})
    good = store(2, 3, target=400)
    good.instruction.execute(golden, good.at)
    trace = run([good, item, good], spaces, latency_cycles=20)
    assert trace.errors == [code]
    assert all((spaces[space] == golden.spaces[space]).all() for space in SPACES)
    assert (np.diff(trace.done) > 0).all()


@pytest.mark.parametrize("space", ["memory", "activation"])
@pytest.mark.parametrize("mode", ["overwrite", "accumulate"])
@pytest.mark.parametrize(
    ("element", "source"), [("int32", SIZES["accumulator"] - 20), ("int16", SIZES["table"] - 10), ("fp32", 1 << 40)]
)
def test_elements_beyond_the_scratchpad_are_not_read(space: str, mode: str, element: str, source: int) -> None:
    spaces = contents("int32", 7)
    result = "fp32" if element == "fp32" else "int16"
    trace = run([store(2, 3, space=space, mode=mode, element=element, result=result, source=source)] * 2, spaces)
    assert trace.errors == [ErrorCode.ILLEGAL_ADDRESS] * 2


@pytest.mark.parametrize("target", [SIZES["activation"] - 12, SIZES["activation"], (1 << 48) - 8, 1 << 33])
@pytest.mark.parametrize("mode", ["overwrite", "accumulate"])
def test_rows_beyond_the_scratchpad_are_not_written(target: int, mode: str) -> None:
    spaces = contents("int32", 8)
    before = spaces["activation"].copy()
    trace = run([store(2, 3, space="activation", mode=mode, target=target, pitch_bytes=4 * 64)], spaces)
    assert trace.errors == [ErrorCode.ILLEGAL_ADDRESS]
    inside = SIZES["activation"] - 16
    assert (spaces["activation"][:inside] == before[:inside]).all()


def test_everything_up_to_the_end_is_read_and_written() -> None:
    for element, result in (("int32", "fp16"), ("int16", "int32")):
        size, width = ELEMENT_DTYPES[element].itemsize, ELEMENT_DTYPES[result].itemsize
        origin: Space = "table" if element == "int16" else "accumulator"
        for space in ("memory", "activation"):
            ends = {"source": SIZES[origin] - 14 * size, "target": SIZES[space] - 14 * width}
            check([store(2, 7, element=element, result=result, space=space, **ends)], 9)


def test_errors_of_the_memory_are_said() -> None:
    spaces = contents("int32", 10)
    assert run([store(1, 2, target=MEMORY_BYTES), store(1, 2)], spaces).errors == [ErrorCode.WRITE_FAILED]
    trace = run([store(1, 2, mode="accumulate", target=MEMORY_BYTES), store(1, 2), store(1, 2)], spaces)
    assert trace.errors == [ErrorCode.READ_FAILED, ErrorCode.WRITE_FAILED]


@pytest.mark.parametrize("mode", ["overwrite", "accumulate"])
@pytest.mark.parametrize("space", ["memory", "activation"])
def test_a_reset_at_any_time_leaves_a_working_engine(space: str, mode: str) -> None:
    placed = [store(2, 5, space=space, target=16), store(1, 3, space=space, target=256)]
    last = Command(store(1, 3, space=space, mode=mode, target=512).instruction, {"source": 0, "target": 512})
    for cycle in range(3, 60):
        spaces = contents("int32", 11)
        if mode == "overwrite":
            check([*placed, last], 11, spaces, reset_at=cycle, latency_cycles=4)
            continue
        # What had been added before the reset is not known: another command says whether the engine works.
        run([*placed, last], spaces, reset_at=cycle, latency_cycles=4)
        check([last], 11, spaces)


def test_wrong_arguments_are_refused() -> None:
    for bus_bytes in (2, 12):
        with pytest.raises(ValueError, match=f"bus_bytes is {bus_bytes}"):
            ElementAdder(bus_bytes=bus_bytes)
