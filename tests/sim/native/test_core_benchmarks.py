"""Measuring the core at hand: what holds on every processor, and what a measurement makes of a core's file."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from isa import InputError
from sim.cli.measure_core import core_command
from sim.native.core_benchmarks import Effort, benchmark_count, measure_core
from sim.native.core_file import core_text
from sim.native.core_measurement import CacheMeasurement, CoreMeasurement, InstructionMeasurement, PairMeasurement
from sim.native.core_update import disagreements, measured_core
from sim.native.cpu import cpu_features
from sim.timing.cpu.core import Core, core_of, load_core, shipped_cores

_INSTRUCTIONS = ("integer", "vpaddb", "vpsrlw", "vpmaddubsw", "vpshufb", "vpermb", "lookup_f16")


def _small_base() -> Core:
    """Zen 4 with some instructions, and no memory beyond the first cache."""
    document = load_core("zen4").model_dump()
    document["instructions"] = {name: document["instructions"][name] for name in _INSTRUCTIONS}
    document["caches"] = document["caches"][:1]
    return core_of(document, "test")


needs_avx2 = pytest.mark.skipif("avx2" not in cpu_features(), reason="this processor has no AVX2")


@pytest.fixture(scope="module")
def measurement() -> CoreMeasurement:
    return measure_core(_small_base(), Effort(samples=300, window_ms=5))


@needs_avx2
def test_measured_cycles_are_those_that_any_x86_core_takes(measurement: CoreMeasurement) -> None:
    found = {(each.name, each.size_bytes): each for each in measurement.instructions}
    assert 0.5 < measurement.clock_ghz < 8
    # Additions of integers and of bytes in vectors take a cycle, and several go side by side.
    for name in (("integer", 8), ("vpaddb", 32)):
        assert found[name].latency_cycles == pytest.approx(1, abs=0.1)
        assert found[name].reciprocal_throughput_cycles < 0.6
    assert 2.5 < found["vpmaddubsw", 32].latency_cycles < 6.5
    assert found["vpmaddubsw", 32].reciprocal_throughput_cycles < 1.2


@needs_avx2
def test_loads_across_cache_lines_take_longer(measurement: CoreMeasurement) -> None:
    assert 0.2 < measurement.load_cycles < 1.2
    assert measurement.split_load_cycles > 1.2 * measurement.load_cycles


@needs_avx2
def test_levels_have_rates_and_latencies(measurement: CoreMeasurement) -> None:
    assert [level.name for level in measurement.levels] == ["L1", "DRAM"]
    for level in measurement.levels:
        assert 1 < level.gb_per_second <= level.total_gb_per_second < 1e5
    # A load that the first cache holds takes from 3 to 6 cycles.
    assert 2.5 < measurement.levels[0].latency_ns * measurement.clock_ghz < 7


@needs_avx2
def test_what_has_no_benchmark_is_listed(measurement: CoreMeasurement) -> None:
    assert "lookup_f16" in measurement.not_measured
    assert "vpaddb" not in measurement.not_measured


@needs_avx2
def test_progress_counts_all_benchmarks() -> None:
    steps = list[int]()
    measure_core(_small_base(), Effort(samples=1, window_ms=1), steps.append)
    assert sum(steps) == benchmark_count(_small_base())


@needs_avx2
def test_a_base_of_another_instruction_set_is_refused() -> None:
    with pytest.raises(InputError, match=r"neoverse-n1.*avx2"):
        measure_core(load_core("neoverse-n1"), Effort.quick())


@needs_avx2
def test_names_that_no_function_can_have_are_not_measured() -> None:
    timing = _small_base().instructions["vpaddb"].model_dump()
    base = _small_base().with_fields({"instructions": {"integer": timing, "a\0b": timing, "../x": timing}})
    assert measure_core(base, Effort(samples=1, window_ms=1)).not_measured == ("a\0b", "../x")


@needs_avx2
def test_more_caches_than_any_processor_has_are_refused() -> None:
    base = _small_base().with_fields({"caches": _small_base().model_dump()["caches"] * 9})
    with pytest.raises(InputError, match="9 levels"):
        measure_core(base, Effort(samples=1, window_ms=1))


@needs_avx2
def test_the_command_writes_a_core_that_loads(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(core_command)
    base, out = tmp_path / "base.toml", tmp_path / "mine.toml"
    base.write_text(core_text(_small_base()))
    result = CliRunner().invoke(app, ["--base", str(base), "--out", str(out), "--quick", "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    core = load_core(out)
    assert core.name == "zen4-measured"
    assert core.clock_ghz == pytest.approx(document["clock_ghz"], abs=1e-3)
    assert core.instructions["vpaddb"].pipes == load_core("zen4").instructions["vpaddb"].pipes
    assert "measured 20" in core.source


@needs_avx2
def test_a_place_that_cannot_be_written_is_known_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sim.cli.measure_core.measure_core", lambda *_: pytest.fail("measured"))
    with pytest.raises(InputError, match="output"):
        core_command(out=tmp_path, quick=True)


def _measurement(**changes: object) -> CoreMeasurement:
    """What a Zen 4 would give."""
    found = CoreMeasurement(
        clock_ghz=3.69123456,
        all_cores_clock_ghz=3.5,
        cores=4,
        instructions=(
            InstructionMeasurement("vpaddb", 32, 0.2502, 1.001),
            InstructionMeasurement("vpaddb", 64, 0.5, 1.001),
            InstructionMeasurement("vpmaddubsw", 32, 0.501, 2.999),
            InstructionMeasurement("vpmaddubsw", 64, 1.001, 2.999),
        ),
        pairs=(PairMeasurement(("vpmaddubsw", "vpsrlw"), 0.51),),
        not_measured=(),
        load_cycles=0.5,
        split_load_cycles=1.0,
        levels=(CacheMeasurement("L1", 32768, 231.234, 460.0, 1.0812), CacheMeasurement("DRAM", 1 << 20, 20, 30, 120)),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


def test_measured_values_take_the_place_of_the_base_and_pipes_stay() -> None:
    base = _small_base()
    slower = (InstructionMeasurement("vpaddb", 32, 0.25, 2.04), InstructionMeasurement("vpshufb", 64, 1.0, 4.9))
    core = measured_core(base, _measurement(instructions=slower, split_load_cycles=2.4), "2026-01-02")
    assert (core.clock_ghz, core.all_cores_clock_ghz, core.cores) == (3.691, 3.5, 4)
    assert core.loads.line_split_cycles == 4
    assert (core.caches[0].gb_per_second, core.caches[0].total_gb_per_second) == (231.2, None)
    assert (core.dram.total_gb_per_second, core.dram.latency_ns) == (30, 120)
    add, shuffle = core.instructions["vpaddb"], core.instructions["vpshufb"]
    assert (add.pipes, add.latency_cycles, add.wide) == (base.instructions["vpaddb"].pipes, 2, None)
    assert "measured 2026-01-02" in add.source
    assert shuffle.latency_cycles == base.instructions["vpshufb"].latency_cycles
    assert shuffle.wide is not None
    assert (shuffle.wide.cycles, shuffle.wide.latency_cycles) == (2, 5)
    assert core.instructions["vpsrlw"] == base.instructions["vpsrlw"]


def test_sources_do_not_grow_when_a_measured_core_is_measured_again() -> None:
    once = measured_core(_small_base(), _measurement(), "2026-01-02")
    twice = measured_core(once, _measurement(), "2026-01-02")
    assert twice == once


def test_throughputs_that_the_pipes_allow_are_no_disagreement() -> None:
    assert disagreements(_small_base(), _measurement()) == ()


def test_a_throughput_that_the_pipes_do_not_allow_is_one() -> None:
    slow = (InstructionMeasurement("vpaddb", 32, 0.5, 1.0),)
    together = (PairMeasurement(("vpmaddubsw", "vpsrlw"), 1.0),)
    found = disagreements(_small_base(), _measurement(instructions=slow, pairs=together))
    assert [(item.what, item.expected_cycles, item.measured_cycles) for item in found] == [
        ("vpaddb, 32 bytes", 0.25, 0.5),
        ("vpmaddubsw and vpsrlw", 0.5, 1.0),
    ]


@pytest.mark.parametrize("name", sorted(shipped_cores()))
def test_a_written_core_is_read_as_the_same(name: str) -> None:
    core = load_core(name)
    assert core_of(tomllib.loads(core_text(core)), "test") == core


# Whatever a TOML file can hold, a TOML file can be given.
_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(description=_texts, mnemonic=_texts, latency=st.integers(0, 256), clock=st.floats(1e-3, 100))
@settings(max_examples=50)
def test_any_text_and_number_survives_a_file(description: str, mnemonic: str, latency: int, clock: float) -> None:
    document = _small_base().model_dump() | {"description": description, "clock_ghz": clock}
    document["instructions"][mnemonic] = {"pipes": ["FP0"], "latency_cycles": latency, "source": description}
    document["instructions"].setdefault("integer", document["instructions"]["vpaddb"])
    core = core_of(document, "test")
    assert core_of(tomllib.loads(core_text(core)), "test") == core
