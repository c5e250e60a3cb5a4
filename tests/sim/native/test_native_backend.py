"""The kernels as backends: exact on one core and on several, and clear where the processor lacks what they need."""

import multiprocessing
import os

import numpy as np
import pytest

from isa import FORMATS, InputError
from sim.functional import BACKENDS
from sim.functional.backends import native
from sim.native import KERNELS, cpu, kernels
from sim.native.cpu import require_features

TERNARY = FORMATS["ternary"]
KERNEL_OF = {
    "native": "I2_S[1x1]",
    "native:i2_s": "I2_S[1x1]",
    "native:tl2": "TL2",
    "native:tq2_0": "tq2_0",
    "native:vnni": "VNNI 2-bit",
}


@pytest.fixture(params=KERNEL_OF)
def backend(request):
    kernel = KERNELS[KERNEL_OF[request.param]]
    try:
        require_features(kernel.features, kernel.name)
    except InputError as error:
        pytest.skip(str(error))
    return BACKENDS[request.param]


def operands(tokens, outputs, inputs, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(-1, 2, (outputs, inputs), np.int8), random.integers(-128, 128, (tokens, inputs), np.int8)


def exact(weight, activations):
    return activations.astype(np.float64) @ weight.astype(np.float64).T


@pytest.mark.parametrize("cpus", [1, 2, 3, 5])
@pytest.mark.parametrize("tokens", [1, 2, 6, 300])
def test_cores_share_a_product_and_change_nothing(backend, tokens, cpus, monkeypatch):
    monkeypatch.setattr(native, "_WORK_OF_A_CORE", 1 << 10)
    monkeypatch.setattr(cpu, "allowed_cpus", lambda: list(range(cpus)))
    weight, activations = operands(tokens, 201, 330)
    assert (backend.prepare(weight, TERNARY)(activations) == exact(weight, activations)).all()


def test_nothing_times_anything_is_nothing(backend):
    for tokens, outputs, inputs in [(0, 3, 5), (2, 0, 5), (2, 3, 0), (0, 0, 0)]:
        sums = backend.prepare(np.zeros((outputs, inputs), np.int8), TERNARY)(np.zeros((tokens, inputs), np.int8))
        assert sums.dtype == np.int32
        assert sums.tolist() == np.zeros((tokens, outputs), int).tolist()


def test_rows_longer_than_a_kernel_sums_exactly_are_refused(backend):
    with pytest.raises(ValueError, match="sums at most 131072 inputs"):
        backend.prepare(np.zeros((1, (1 << 17) + 1), np.int8), TERNARY)


def test_claimed_formats_are_those_that_the_layouts_hold():
    held = {name: [value.name for value in FORMATS.values() if BACKENDS[name].accepts(value)] for name in KERNEL_OF}
    assert "ternary" in held["native"]
    assert "int2" in held["native:vnni"]
    for name, names in held.items():
        levels = KERNELS[KERNEL_OF[name]].layout.levels
        assert all(max(FORMATS[each].codes) - min(FORMATS[each].codes) < levels for each in names)


def test_without_avx512_the_fastest_kernel_is_i2_s(monkeypatch):
    features = frozenset({"avx2"})
    if not features <= cpu.cpu_features():
        pytest.skip("no AVX2")
    monkeypatch.setattr(cpu, "cpu_features", lambda: features)
    weight, activations = operands(3, 20, 200)
    assert (BACKENDS["native"].prepare(weight, TERNARY)(activations) == exact(weight, activations)).all()
    with pytest.raises(InputError, match="no avx512_vnni"):
        BACKENDS["native:vnni"].prepare(weight, TERNARY)


def test_a_processor_without_the_instructions_is_told_so(backend, monkeypatch):
    monkeypatch.setattr(cpu, "cpu_features", frozenset)
    with pytest.raises(InputError, match=r"/proc/cpuinfo: flags: found no .*, expected .* which kernel .* needs"):
        backend.prepare(np.ones((2, 2), np.int8), TERNARY)


def _product_in_child(connection, weight, activations):
    connection.send(BACKENDS["native"].prepare(weight, TERNARY)(activations))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process_has_threads_of_its_own(monkeypatch):
    try:
        require_features(KERNELS["I2_S[1x1]"].features, "native")
    except InputError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(native, "_WORK_OF_A_CORE", 1 << 10)
    monkeypatch.setattr(cpu, "allowed_cpus", lambda: [0, 1])
    weight, activations = operands(2, 64, 256)
    expected = BACKENDS["native"].prepare(weight, TERNARY)(activations)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_product_in_child, args=(theirs, weight, activations), daemon=True)
    child.start()
    assert ours.poll(60), "the child waits for threads that it does not have"
    assert (ours.recv() == expected).all()
    child.join()


def test_importing_the_backends_neither_compiles_nor_imports_kernels(tmp_path):
    import subprocess
    import sys

    code = "import sys, sim.functional; print('sim.native' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.stdout.strip() == "False"
    assert not (tmp_path / "bitloom").exists() or not list((tmp_path / "bitloom").glob("native-*"))


def test_kernel_names_of_the_backends_are_known():
    assert set(KERNEL_OF.values()) <= set(kernels.KERNELS)
