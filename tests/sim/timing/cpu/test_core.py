"""Files of cores: those shipped are whole and say what is published, wrong ones are refused, changes are checked."""

import importlib
import pkgutil
import tomllib
from pathlib import Path

import pytest

import sim.simd
from isa import InputError
from sim.simd.semantics import SEMANTICS
from sim.timing.cpu.core import Core, Timing, core_of, load_core, shipped_cores

for _module in pkgutil.iter_modules(sim.simd.__path__):
    if _module.name.startswith(("x86", "neon")):
        importlib.import_module(f"sim.simd.{_module.name}")

# What a core has anyway: loads and stores, and what costs nothing where registers are renamed.
_NO_PIPES = {"load", "store", "zero", "lower_half"}
_NEEDED_FEATURES = {
    "avx512": {
        "vextracti64x4",
        "vextractf64x4",
        "vextracti32x4",
        "vpermt2w",
        "vpermt2d",
        "vrndscaleps",
        "vinserti32x8",
        "vpmovb2m",
        "vpsubb_masked",
    },
    "vnni": {"vpdpbusd"},
    "vbmi": {"vpermb", "vpermt2b"},
    "bf16": {"vdpbf16ps", "vcvtneps2bf16"},
    "f16c": {"vcvtph2ps", "vcvtps2ph"},
    "fma": {"vfmadd231ps", "vfmadd213ps", "vfmadd132ps", "vfmsub231ps", "vfnmadd231ps"},
    "dotprod": {"sdot"},
    "i8mm": {"usdot", "smmla"},
}


def _allowed(core: Core) -> set[str]:
    """Mnemonics of the core's instruction set that its features allow."""
    family = "sim.simd.neon" if "neon" in core.features else "sim.simd.x86"
    names = {name for name, found in SEMANTICS.items() if found.compute.__module__.startswith(family)}
    missing = [names for feature, names in _NEEDED_FEATURES.items() if feature not in core.features]
    return names.difference(_NO_PIPES, *missing)


def _reciprocal_throughput(timing: Timing) -> float:
    return timing.cycles * timing.pieces / len(timing.pipes)


@pytest.mark.parametrize("name", sorted(shipped_cores()))
def test_a_shipped_core_has_the_name_of_its_file_and_sources(name: str) -> None:
    core = load_core(name)
    assert core.name == name
    assert all(len(timing.source) > 10 for timing in core.instructions.values())


@pytest.mark.parametrize("name", sorted(shipped_cores()))
def test_a_shipped_core_times_every_instruction_that_its_features_allow(name: str) -> None:
    core = load_core(name)
    assert _allowed(core) - set(core.instructions) == set()


@pytest.mark.parametrize("name", sorted(shipped_cores()))
def test_levels_of_a_shipped_core_grow_and_slow_down_from_the_core_outwards(name: str) -> None:
    core = load_core(name)
    sizes = [cache.size_bytes for cache in core.caches]
    rates = [*(cache.gb_per_second for cache in core.caches), core.dram.gb_per_second]
    latencies = [*(cache.latency_ns for cache in core.caches), core.dram.latency_ns]
    assert sizes == sorted(sizes)
    assert rates == sorted(rates, reverse=True)
    assert latencies == sorted(latencies)
    assert core.dram.total_gb_per_second >= core.dram.gb_per_second


# uops.info (Golden Cove: Alder Lake P), D. Johnson's tables of Firestorm, Arm's optimization guide of Neoverse N1, and
# measurements of a Zen 4.
@pytest.mark.parametrize(
    ("core", "instruction", "throughput", "latency"),
    [
        ("zen4", "vpshufb", 1 / 2, 2),
        ("zen4", "vpmaddubsw", 1 / 2, 3),
        ("zen4", "vpdpbusd", 1 / 2, 4),
        ("zen4", "vpaddw", 1 / 4, 1),
        ("zen4", "vpunpcklbw", 1 / 3, 1),
        ("zen4", "vpermq", 1 / 2, 4),
        ("golden-cove", "vpshufb", 1 / 2, 1),
        ("golden-cove", "vpmaddubsw", 1 / 2, 5),
        ("golden-cove", "vpaddw", 1 / 3, 1),
        ("golden-cove", "vpsrlw", 1 / 2, 1),
        ("golden-cove", "vpermq", 1, 3),
        ("golden-cove", "vpmovsxbw", 1, 3),
        ("golden-cove", "vpdpbusd", 1 / 2, 5),
        ("apple-m2", "tbl", 1 / 4, 2),
        ("apple-m2", "sdot", 1 / 4, 3),
        ("apple-m2", "add.8", 1 / 4, 2),
        ("neoverse-n1", "tbl", 1 / 2, 2),
        ("neoverse-n1", "sdot", 1 / 2, 2),
        ("neoverse-n1", "smlal", 1, 4),
        ("neoverse-n1", "ushr.16", 1, 2),
    ],
)
def test_shipped_timings_are_the_published_ones(core: str, instruction: str, throughput: float, latency: int) -> None:
    timing = load_core(core).instructions[instruction]
    assert (_reciprocal_throughput(timing), timing.latency_cycles) == (throughput, latency)


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("clock_ghz = 3.69", "", "clock_ghz"),
        ("clock_ghz = 3.69", "clock_ghz = -1", "clock_ghz"),
        ("clock_ghz = 3.69", 'clock_ghz = "fast"', "clock_ghz"),
        ("clock_ghz = 3.69", "clock_ghz = inf", "clock_ghz"),
        ("cores = 8", "cores = 8.5", "cores"),
        ("cores = 8", "cores = 8\ncolour = 7", "colour"),
        ("[loads]", "[loads]\nbanks = 8", "loads.banks"),
        ("bytes = 32\nlatency_cycles", "bytes = 0\nlatency_cycles", "loads.bytes"),
        ("size_bytes = 32768", "size_bytes = 1", "caches.0.size_bytes"),
        ("[dram]\n", "[dram]\nstreams = 1\n", "dram.streams"),
        ("integer = { pipes = [", "integer = { pieces = 1000000, pipes = [", "instructions.integer.pieces"),
        ("integer = { pipes = [", "whole = { pipes = [", "document"),
        ('pipes = ["LD0", "LD1"]\nstore', 'pipes = ["LD0", "LD9"]\nstore', "document"),
    ],
)
def test_a_wrong_file_is_refused_by_file_field_and_what_was_found(
    tmp_path: Path, before: str, after: str, field: str
) -> None:
    text = shipped_cores()["zen4"].read_text()
    assert before in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(InputError) as refused:
        load_core(path)
    assert (refused.value.source, refused.value.field) == (str(path), field)
    assert f"{path}: {field}: found " in str(refused.value)
    assert ", expected " in str(refused.value)


@pytest.mark.parametrize("text", ["name = ", "name = 'x'\nname = 'y'", "a = " + "[" * 5000, "\0"])
def test_what_is_no_toml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=str(path)):
        load_core(path)


def test_a_core_that_is_not_there_is_an_error_that_lists_those_shipped() -> None:
    with pytest.raises(InputError, match=r"golden-cove.*zen4"):
        load_core("pentium")


def test_an_instruction_can_be_added_and_the_rest_stays() -> None:
    base = load_core("zen4")
    lookup = {"pipes": ["FP1"], "latency_cycles": 3, "source": "a design"}
    changed = base.with_fields({"instructions.vlut": lookup, "dram.total_gb_per_second": 100.0})
    assert changed.instructions["vlut"] == Timing(pipes=("FP1",), latency_cycles=3, source="a design")
    assert changed.dram.total_gb_per_second == 100.0
    back = changed.with_fields({"dram.total_gb_per_second": base.dram.total_gb_per_second})
    assert {**back.instructions} == {**base.instructions, "vlut": changed.instructions["vlut"]}


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("instructions.vlut", {"pipes": ["FP9"], "latency_cycles": 3, "source": "a design"}, "document"),
        ("instructions.vlut", {"pipes": [], "latency_cycles": 3, "source": "a design"}, "instructions.vlut.pipes"),
        ("instructions.vlut.wide.pipes", ["FP1"], "instructions.vlut.wide.pipes"),
        ("clock.ghz", 3.0, "clock.ghz"),
        ("speed", 3.0, "speed"),
    ],
)
def test_a_change_that_makes_no_core_is_refused(path: str, value: object, field: str) -> None:
    with pytest.raises(InputError) as refused:
        load_core("zen4").with_fields({path: value}, "my design")
    assert (refused.value.source, refused.value.field) == ("my design", field)


def test_the_clock_falls_from_one_busy_core_to_all() -> None:
    document = tomllib.loads(shipped_cores()["zen4"].read_text())
    core = core_of(document | {"clock_ghz": 5.0, "all_cores_clock_ghz": 4.0, "cores": 5}, "changed")
    assert [core.clock_of(threads) for threads in (1, 3, 5, 9)] == [5.0, 4.5, 4.0, 4.0]
    assert load_core("zen4").clock_of(2) == load_core("zen4").clock_ghz
