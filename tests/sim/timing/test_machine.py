"""Machine files: shipped ones load, changed ones are validated, wrong ones are refused with file and field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import FORMATS, InputError
from sim.timing import load_machine, shipped_machines
from sim.timing.machine import Machine, parse_machine


@pytest.fixture
def lut_file(tmp_path):
    """The text of a shipped machine, to be changed."""
    path = tmp_path / "machine.toml"
    text = shipped_machines()["lut-m2n64k4"].read_text()

    def write(old: str, new: str) -> str:
        assert old in text
        path.write_text(text.replace(old, new))
        return str(path)

    return write


@pytest.mark.parametrize("name", shipped_machines())
def test_shipped_machines_load_under_their_names_with_costs(name):
    machine = load_machine(name)
    assert machine.name == name
    assert machine.area_um2 == pytest.approx(sum(p.component.area_um2 * p.count for p in machine.parts.values()))
    assert {"dram", "vector_unit", "activation_buffer", "weight_buffer", "output_buffer"} < set(machine.parts)


def test_the_shipped_arrays_have_the_same_peak_rate():
    lanes = {name: load_machine(name).compute.lanes for name in ("lut-m2n64k4", "bit-serial", "int8-mac")}
    assert set(lanes.values()) == {512}
    for name, stored in (("lut-m2n64k4", "int1"), ("bit-serial", "ternary"), ("int8-mac", "ternary")):
        compute = load_machine(name).compute
        assert compute.pass_cycles(compute.weight_type(FORMATS[stored]).bits) == 1


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_serial_weights_take_a_cycle_a_plane_or_two_planes(bits):
    weights = FORMATS[f"int{bits}"]
    for name, cycles in (("lut-m2n64k4", bits), ("bit-serial", (bits + 1) // 2)):
        compute = load_machine(name).compute
        assert compute.weight_type(weights).bits == bits
        assert compute.pass_cycles(bits) == cycles


def test_weights_are_stored_as_the_unit_reads_them():
    stored = {
        name: [load_machine(name).compute.weight_type(FORMATS[fmt]).name for fmt in ("int1", "ternary", "int4")]
        for name in ("lut-m2n64k4", "bit-serial", "int8-mac")
    }
    assert stored["lut-m2n64k4"] == stored["bit-serial"] == ["binary", "ternary", "int4"]
    assert stored["int8-mac"] == ["int8", "int8", "int8"]


def test_cores_have_their_own_parts_and_share_the_memory():
    one = load_machine("lut-m2n64k4")
    four = one.with_fields({"cores": 4})
    assert four.area_um2 == pytest.approx(4 * one.area_um2)
    assert four.lanes == 4 * one.lanes
    assert four.parts["dram"].count == 1
    assert four.parts["weight_buffer"].count == 4


def test_bandwidth_is_counted_in_powers_of_ten():
    machine = load_machine("int8-mac").with_fields({"clock_ghz": 0.5, "dram.bandwidth_gb_per_second": 25.6})
    timings = machine.memory_timings
    assert timings.burst_bytes / timings.burst_cycles * timings.channels == 51.2


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("m = 2\n", "m = -2\n", "compute.lut.m"),
        ("m = 2\n", "m = 0\n", "compute.lut.m"),
        ("m = 2\n", "m = 2.5\n", "compute.lut.m"),
        ("m = 2\n", "m = true\n", "compute.lut.m"),
        ("m = 2\n", 'm = "2"\n', "compute.lut.m"),
        ("m = 2\n", "m = 1000000000\n", "compute.lut.m"),
        ("m = 2\n", "", "compute.lut.m"),
        ("m = 2\n", "m = 2\nrows = 2\n", "compute.lut.rows"),
        ('kind = "lut"', 'kind = "quantum"', "compute"),
        ("largest_weight_bits = 8", "largest_weight_bits = 9", "largest_weight_bits"),
        ("clock_ghz = 1.0", "clock_ghz = 0", "clock_ghz"),
        ("clock_ghz = 1.0", "clock_ghz = nan", "clock_ghz"),
        ("clock_ghz = 1.0", "clock_ghz = 1e9", "clock_ghz"),
        ("clock_ghz = 1.0", "clock_mhz = 1000", "clock_"),
        ("bandwidth_gb_per_second = 25.6", "bandwidth_gb_per_second = inf", "dram.bandwidth"),
        ("bandwidth_gb_per_second = 25.6", "bandwidth_gb_per_second = -1", "dram.bandwidth"),
        ("weight_bytes = 131072", "weight_bytes = 1e30", "buffers.weight_bytes"),
        ("weight_bytes = 131072", "weight_bytes = 3", "buffers.weight_bytes"),
        ('technology = "ddr4-3200"', 'technology = "ddr9"', "dram.technology"),
        ('name = "lut-m2n64k4"', 'name = "../../etc"', "name"),
        ("[dram]", "[dram", "TOML"),
    ],
)
def test_a_wrong_value_is_refused_by_file_and_field(lut_file, old, new, field):
    path = lut_file(old, new)
    with pytest.raises(InputError) as caught:
        load_machine(path)
    assert caught.value.source == path
    assert field in caught.value.field
    assert caught.value.found is not None


def test_an_unknown_machine_lists_the_shipped_ones():
    with pytest.raises(InputError, match=r"no-such.*lut-m2n64k4"):
        load_machine("no-such")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a = " + b"[" * 100_000, b"x = 1\n" * 300_000])
def test_a_file_that_is_no_machine_is_refused(tmp_path, content):
    path = tmp_path / "machine.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"machine\.toml"):
        load_machine(path)


def test_fields_change_by_dotted_path_and_are_validated_anew():
    machine = load_machine("int8-mac")
    assert machine.with_fields({"compute.n": 16, "dram.latency_ns": 10.0}).compute.n == 16
    assert machine.compute.n == 64
    for path in ("compute.tables_per_cycle", "compute.n.x", "nothing", "name.x"):
        with pytest.raises(InputError, match="no such field"):
            machine.with_fields({path: 1})
    with pytest.raises(InputError, match=r"compute\.mac\.n"):
        machine.with_fields({"compute.n": -1})


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    table=st.sampled_from(["", "compute", "buffers", "dram", "vector"]),
    field=st.sampled_from(["name", "kind", "m", "n", "clock_ghz", "technology", "weight_bytes", "latency_ns", "x"]),
    value=leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.text(max_size=3), leaves, max_size=2),
)
def test_any_value_in_any_field_is_a_machine_or_refused(table, field, value):
    document = load_machine("lut-m2n64k4").model_dump()
    (document[table] if table else document)[field] = value
    try:
        machine = parse_machine(document, "fuzz")
    except InputError:
        return
    assert isinstance(machine, Machine)
    assert machine.area_um2 > 0
