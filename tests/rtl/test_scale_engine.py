"""The scale engine against the semantics of its instruction, between scratchpads that answer as the real ones do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engine_bench import Command, GoldenStorage
from hypothesis import given, settings
from hypothesis import strategies as st
from scale_library import CONFIGURATION, Trace, run

from isa.instructions import Scale
from rtl.configuration import UnsupportedConfiguration
from rtl.engines.scale import LATENCY_CYCLES, ScaleEngine
from rtl.engines.scale_lanes import ScaleLanes
from rtl.errors import ErrorCode
from rtl.floats import DIVIDE_CYCLES

LANES, UNIT = CONFIGURATION.scale_lanes, CONFIGURATION.unit
HALF = UNIT.accumulator_bytes // 2


def scale(rows: int, columns: int, **given: Any) -> Command:
    """An instruction with these fields, and these numbers as addresses; the rest is the simplest."""
    at = {name: given.pop(name, 0) for name in ("source", "target", "column_scales", "row_scales")}
    fields = {"granularity": "row", "rule": "multiply", "columns_have": "each", "scale": "fp32"} | given
    return Command(Scale(rows=rows, columns=columns, **dict.fromkeys(at, 0), **fields), at)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 14))
    choices = {
        "granularity": ("row", "group"),
        "rule": ("multiply", "multiply", "divide"),
        "columns_have": ("each", "one"),
        "scale": ("fp32", "fp16"),
    }
    each = {name: draw(st.sampled_from(values)) for name, values in choices.items()}
    element = 2 if each["scale"] == "fp16" else 4
    spare = UNIT.scale_bytes - element * columns
    room = HALF - 4 * rows * columns
    at = {
        # Few places, so that commands find what those before them have written.
        "source": min(4 * draw(st.integers(0, 6)), room) + draw(st.sampled_from([0, 0, HALF])),
        "column_scales": draw(st.integers(0, spare // element)) * element,
        "row_scales": draw(st.integers(0, UNIT.scale_bytes - 4 * rows)),
    }
    at["target"] = draw(st.sampled_from([at["source"], (at["source"] + HALF) % (2 * HALF)]))
    return scale(rows, columns, **each, **at)


def contents(seed: int) -> tuple[Any, Any]:
    """Accumulators of all sizes, and scales: most of them ordinary, some any bits, some zero."""
    random = np.random.default_rng(seed)
    words = UNIT.accumulator_bytes // 4
    accumulators = random.integers(-(1 << 31), 1 << 31, words) >> random.integers(0, 31, words)
    accumulators[::17] = random.choice(
        [0, -1, 1 << 24, (1 << 24) + 1, (1 << 31) - 1, -(1 << 31)], len(accumulators[::17])
    )
    scales = random.normal(size=UNIT.scale_bytes // 4).astype(np.float32).view(np.uint32)
    odd = random.random(len(scales)) < 0.2
    scales[odd] = random.integers(0, 1 << 32, int(odd.sum()), np.uint32)
    scales[random.random(len(scales)) < 0.1] = 0
    halves = random.normal(size=UNIT.scale_bytes // 4).astype(np.float16).view(np.uint16)
    result = scales.view(np.uint8).copy()
    result[: len(result) // 2] = halves.view(np.uint8)
    return accumulators.astype(np.int32).view(np.uint8).copy(), result


def check(placed: list[Command], seed: int, **how: Any) -> Trace:
    """The results are those of the instructions, one after the other; NaN where they have a NaN."""
    accumulators, scales = contents(seed)
    expected = accumulators.copy()
    storage = GoldenStorage({"accumulator": expected, "scale": scales})
    for item in placed:
        item.instruction.execute(storage, item.at)
    trace = run(placed, accumulators, scales, seed=seed, **how)
    assert not trace.errors.any()
    found, wanted = accumulators.view(np.float32), expected.view(np.float32)
    same = (found.view(np.uint32) == wanted.view(np.uint32)) | (np.isnan(found) & np.isnan(wanted))
    assert same.all(), f"elements {np.flatnonzero(~same)[:8]}: {found[~same][:4]}, not {wanted[~same][:4]}"
    return trace


def steps_of(item: Command) -> int:
    """Cycles in which the engine works on a command."""
    each = DIVIDE_CYCLES if item.instruction.rule == "divide" else 1
    return item.instruction.rows * -(-item.instruction.columns // LANES) * each


def nans_may_be_read(placed: list[Command]) -> bool:
    """Whether a NaN that comes up may be read as an integer, whose bits are then not defined."""
    return any(
        abs(earlier.at["target"] - later.at["source"]) < HALF // 2
        for place, later in enumerate(placed)
        for earlier in placed[:place]
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(commands(), min_size=1, max_size=8), st.integers(0, 1 << 32), st.sampled_from([0, 0, 0.5, 0.9]))
def test_commands_give_what_their_instructions_say(placed: list[Command], seed: int, idle: float) -> None:
    if nans_may_be_read(placed):
        placed = placed[:1]
    check(placed, seed, idle=idle)


@settings(max_examples=60, deadline=None)
@given(st.lists(commands(), min_size=2, max_size=8), st.integers(0, 1 << 32))
def test_commands_that_read_each_others_results_wait_for_them(placed: list[Command], seed: int) -> None:
    # Small integers and plain scales, as which nothing that comes up is read as a NaN.
    words = np.random.default_rng(seed).integers(0, 1 << 20, UNIT.accumulator_bytes // 4, np.int32)
    accumulators = words.view(np.uint8)
    scales = np.tile(np.array([0.5, -1.25, 1.5], np.float32), UNIT.scale_bytes // 12).view(np.uint8)
    each = [
        Command(
            replace(item.instruction, scale="fp32"),
            {name: item.at[name] for name in ("source", "target")}
            | {name: item.at[name] // 16 * 4 for name in ("column_scales", "row_scales")},
        )
        for item in placed
    ]
    expected = accumulators.copy()
    storage = GoldenStorage({"accumulator": expected, "scale": scales})
    for item in each:
        item.instruction.execute(storage, item.at)
    run(each, accumulators, scales, seed=seed)
    assert (accumulators == expected).all()


@pytest.mark.parametrize("rule", ["multiply", "divide"])
def test_commands_follow_each_other_without_a_gap_and_are_done_after_the_pipeline(rule: str) -> None:
    shapes = ((3, 9), (1, 1), (2, 8), (4, 2))
    placed = [scale(*shape, rule=rule, target=HALF + 200 * place) for place, shape in enumerate(shapes)]
    trace = check(placed, 1)
    works = np.array([steps_of(item) for item in placed])
    assert (np.diff(trace.accepted) == works[:-1]).all()
    assert (trace.done == trace.accepted + works + CONFIGURATION.scale_pipeline_cycles - 1).all()


def test_results_of_commands_are_added_up_however_short_they_are() -> None:
    group = {"granularity": "group", "target": HALF, "column_scales": 320}
    placed = [scale(1, columns, source=4 * columns, **group) for columns in (1, 4, 3, 5, 1, 1, 2)]
    trace = check(placed, 2)
    assert np.diff(trace.accepted).max() <= 5


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ({"source": UNIT.accumulator_bytes - 4}, ErrorCode.ILLEGAL_ADDRESS),
        ({"target": UNIT.accumulator_bytes - 8 * 4 + 4}, ErrorCode.ILLEGAL_ADDRESS),
        ({"source": (1 << 48) - 4}, ErrorCode.ILLEGAL_ADDRESS),
        ({"target": 1 << 34}, ErrorCode.ILLEGAL_ADDRESS),
        ({"column_scales": UNIT.scale_bytes - 12}, ErrorCode.ILLEGAL_ADDRESS),
        ({"column_scales": 1 << 32}, ErrorCode.ILLEGAL_ADDRESS),
        ({"row_scales": UNIT.scale_bytes - 7}, ErrorCode.ILLEGAL_ADDRESS),
        ({"source": 2}, ErrorCode.MISALIGNED_ADDRESS),
        ({"target": 401}, ErrorCode.MISALIGNED_ADDRESS),
        ({"column_scales": 2}, ErrorCode.MISALIGNED_ADDRESS),
        ({"column_scales": 3, "scale": "fp16"}, ErrorCode.MISALIGNED_ADDRESS),
    ],
)
@pytest.mark.parametrize("rule", ["multiply", "divide"])
def test_what_lies_beyond_a_scratchpad_ends_the_command_with_an_error(
    place: dict[str, Any], code: ErrorCode, rule: str
) -> None:
    accumulators, scales = contents(3)
    good = scale(2, 6, target=HALF, rule=rule)
    trace = run([good, scale(2, 4, **place, rule=rule), good], accumulators, scales)
    assert list(trace.errors) == [ErrorCode.NONE, code, ErrorCode.NONE]
    assert (np.diff(trace.done) > 0).all()


def test_what_lies_at_the_end_of_a_scratchpad_is_scaled() -> None:
    rows, columns = 2, 5
    last = UNIT.accumulator_bytes - 4 * rows * columns
    ends = {"column_scales": UNIT.scale_bytes - 4 * columns, "row_scales": UNIT.scale_bytes - 4 * rows}
    check([scale(rows, columns, source=last, target=last, **ends)], 4)
    check([scale(1, 1, columns_have="one", scale="fp16", column_scales=UNIT.scale_bytes - 2)], 5)


@pytest.mark.parametrize("rule", ["multiply", "divide"])
def test_a_reset_at_any_time_leaves_a_working_engine(rule: str) -> None:
    placed = [scale(1, 6, rule=rule, target=HALF), scale(1, 3, rule=rule, target=HALF + 400)]
    for cycle in range(3, 40 if rule == "divide" else 14):
        check(placed, 6, reset_at=cycle)


def test_a_pipeline_that_is_too_short_is_refused() -> None:
    with pytest.raises(UnsupportedConfiguration, match="scale_pipeline_cycles"):
        ScaleEngine(replace(CONFIGURATION, scale_pipeline_cycles=LATENCY_CYCLES - 1))


def test_no_lanes_are_refused() -> None:
    with pytest.raises(ValueError, match="lanes is 0"):
        ScaleLanes(lanes=0)
