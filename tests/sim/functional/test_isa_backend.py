"""The backends that run binary programs: whole runs of the shipped model equal the golden one in every accumulator."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from isa import FORMATS
from sim.functional import BACKENDS, Backend, GoldenModel, load_model
from sim.functional.backends.isa import ISA_BACKENDS
from sim.functional.interpreter import run_program
from sim.functional.lowered import run_lowered

PROMPT, NEXT = [51, 942, 337], 1075
NAMES = [backend.name for backend in ISA_BACKENDS]


class Compared:
    """A backend that multiplies by another and by `reference`, and counts the accumulators in which both agree."""

    def __init__(self, name):
        self._both = [BACKENDS[name], BACKENDS["reference"]]
        self.products = self.accumulators = 0

    @property
    def backend(self):
        return Backend("compared", "two backends, compared", self._prepare)

    def _prepare(self, weight, weight_format):
        ours, reference = (backend.prepare(weight, weight_format) for backend in self._both)

        def product(activations):
            sums = ours(activations)
            assert sums.dtype == np.int32
            assert (sums == reference(activations)).all()
            self.products += 1
            self.accumulators += sums.size
            return sums

        return product


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_and_a_decoded_token_of_tern_18m_agree_in_every_accumulator(name, monkeypatch, tern_18m):
    """42 projections, of which those that read the same input are one product: 24."""
    compared = Compared(name)
    monkeypatch.setitem(BACKENDS, "compared", compared.backend)
    model = GoldenModel(tern_18m.weights, "compared", tern_18m.precision)
    assert sum(len(layer.projections) for layer in model.weights.layers) == 42
    outputs = sum(item.shape[0] for layer in model.weights.layers for item in layer.projections.values())
    cache, golden_cache = model.empty_cache(), tern_18m.empty_cache()
    for step, ids in enumerate((PROMPT, [NEXT]), start=1):
        hidden = model.hidden_states([np.array(ids)], [cache])[0]
        assert (hidden == tern_18m.hidden_states([np.array(ids)], [golden_cache])[0]).all()
        assert compared.products == 24 * step
    assert compared.accumulators == (len(PROMPT) + 1) * outputs


def test_generate_writes_the_tokens_of_the_default_backend():
    def tokens(*options):
        command = [Path(sys.executable).parent / "bitloom", "generate", "--prompt", "Once upon a time", "--tokens", "4"]
        done = subprocess.run([*command, "--json", *options], capture_output=True, check=True, text=True, timeout=300)
        return [item["token_ids"] for item in json.loads(done.stdout)["sequences"]]

    assert tokens("--backend", "isa") == tokens()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0), (2, 0, 5)], ids=str)
def test_products_of_nothing_are_nothing(name, shape):
    tokens, outputs, inputs = shape
    product = BACKENDS[name].prepare(np.ones((outputs, inputs), np.int8), FORMATS["ternary"])
    sums = product(np.ones((tokens, inputs), np.int8))
    assert sums.dtype == np.int32
    assert sums.tolist() == np.zeros((tokens, outputs), int).tolist()


@pytest.mark.parametrize("name", NAMES)
def test_what_runs_was_read_from_the_bytes_of_a_program_file(name, monkeypatch):
    """A backend that kept the programs in memory would not notice an encoding that loses something."""
    ran, wrote = [], []

    def read(data, source):
        wrote.append(program_of(data, source))
        return wrote[-1]

    def run(program, *arguments, **options):
        ran.append(program)
        return run_program(program, *arguments, **options)

    program_of = run_lowered.__globals__["program_of"]
    monkeypatch.setattr("sim.functional.lowered.program_of", read)
    monkeypatch.setattr("sim.functional.lowered.run_program", run)
    # A shape that no other test uses: programs that were read before are kept.
    weight = np.ones((13, 97), np.int8)
    assert BACKENDS[name].prepare(weight, FORMATS["ternary"])(np.ones((1, 97), np.int8)).tolist() == [[97] * 13]
    assert len(ran) == 1
    assert ran[0] is wrote[0]


def test_weights_are_packed_once_for_all_numbers_of_tokens(monkeypatch):
    packings = []
    original = BACKENDS["isa"].algorithm.func.__globals__["pack_product_weights"]
    monkeypatch.setattr(
        "sim.functional.backends.isa.pack_product_weights", lambda *values: packings.append(1) or original(*values)
    )
    product = BACKENDS["isa"].prepare(np.ones((6, 20), np.int8), FORMATS["ternary"])
    for tokens in (1, 4, 9):
        assert product(np.ones((tokens, 20), np.int8)).tolist() == [[20] * 6] * tokens
    assert len(packings) == 1


def test_the_backend_is_chosen_by_name_where_a_model_is_loaded():
    assert load_model("tern-18m", "isa").backend == "isa"
