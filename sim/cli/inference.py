"""`bitloom generate` and `bitloom perplexity`: the golden model alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sim.cli.output import JsonOption, messages, print_json, print_table, print_text, progress_bar
from sim.functional import Sampler, backend_named, generate, load_model, measure_perplexity
from sim.study.run import text_of
from workloads.catalog import tokenizer_of
from workloads.tokens import read_tokens

__all__ = ["GreedyOption", "ModelOption", "SeedOption", "TemperatureOption", "generate_command", "perplexity_command"]

ModelOption = Annotated[str, typer.Option(help="Shipped name (tern-18m), checkpoint folder or GGUF file.")]
GreedyOption = Annotated[bool, typer.Option("--greedy", help="Always take the most likely token.")]
SeedOption = Annotated[int, typer.Option(help="Start of the random sequence.")]
TemperatureOption = Annotated[float, typer.Option(help="Divides the logits before sampling; 0 is --greedy.")]
TopKOption = Annotated[int, typer.Option(help="Sample among the K most likely tokens (0: all).")]
TopPOption = Annotated[float, typer.Option(help="Sample among the most likely tokens that reach this probability.")]
BackendOption = Annotated[
    str, typer.Option(help="How products are computed [default: blas; packed for large models]; see `bitloom list`.")
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", "--weight-format", help="Quantize the projections to it, as int4-g128 [default: as stored]"
    ),
]
ActivationFormatOption = Annotated[
    str | None,
    typer.Option(
        help="Format of the projections' inputs [default: the model's own; fp16 with --format on float models]"
    ),
]
KeyValueFormatOption = Annotated[
    str | None, typer.Option(help="Format of keys and values in the cache, as int8 or int4-asym [default: float32]")
]


def generate_command(
    prompt: Annotated[list[str], typer.Option("--prompt", help="Text to continue; repeat it for a batch.")],
    model: ModelOption = "tern-18m",
    tokens: Annotated[int, typer.Option(help="New tokens.")] = 64,
    greedy: GreedyOption = False,
    seed: SeedOption = 0,
    temperature: TemperatureOption = 0.7,
    top_k: TopKOption = 40,
    top_p: TopPOption = 1.0,
    backend: BackendOption = "",
    weight_format: FormatOption = None,
    activation_format: ActivationFormatOption = None,
    kv_format: KeyValueFormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a prompt with the golden model, every low-bit product in exact integers.

    Examples: `bitloom generate --prompt "Once upon a time" --tokens 40 --greedy`,
    `bitloom generate --prompt "The" --kv-format int4-asym --backend tl2`
    """
    sampler = Sampler.greedy() if greedy else Sampler(temperature, top_k, top_p, seed)
    golden = load_model(
        model, backend, weight_format=weight_format, activation_format=activation_format, cache_format=kv_format
    )
    tokenizer = tokenizer_of(model)
    prompt_ids = [tokenizer.encode(text) for text in prompt]
    if golden.backend == "rtl":
        _build_hardware()
    with progress_bar("generating", tokens) as advance:
        generation = generate(golden, prompt_ids, tokens, sampler, progress=lambda: advance(1))
    texts = [text_of(tokenizer, ids, new) for ids, new in zip(prompt_ids, generation.token_ids, strict=True)]
    hardware = _hardware_figures(max(map(len, generation.token_ids))) if golden.backend == "rtl" else {}
    if as_json:
        document = {
            "text": texts[0],
            "token_ids": list(generation.token_ids[0]),
            "tokens_per_second": generation.tokens_per_second,
            "prefill_seconds": generation.prefill_seconds,
            "decode_seconds": generation.decode_seconds,
            "model": golden.architecture.name,
            "backend": golden.backend if golden.multiplies_integers else "float32",
            "sequences": [
                {"prompt": text, "text": whole, "token_ids": list(new)}
                for text, whole, new in zip(prompt, texts, generation.token_ids, strict=True)
            ],
            **({"hardware": hardware} if hardware else {}),
        }
        print_json(document)
        return
    for text in texts:
        print_text(text)
    if hardware:
        _say(hardware)


def _say(figures: dict[str, Any]) -> None:
    messages().print(
        f"{figures['machine']} in RTL: {figures['accumulators']:,} accumulators equal; "
        f"{figures['cycles_per_token']:,.0f} cycles and {figures['simulation_seconds_per_token']:.2f} s a token, "
        f"{figures['simulated_cycles_per_second']:,.0f} cycles simulated a second",
        highlight=False,
    )


def _build_hardware() -> None:
    from sim.functional.backends.rtl import rtl_unit

    with messages().status("building the simulation of the hardware"):
        rtl_unit()


def _hardware_figures(tokens: int) -> dict[str, Any]:
    """What the hardware has done; the first token comes of the prompt, the others of products of one token."""
    from sim.functional.backends.rtl import rtl_unit

    unit = rtl_unit()
    decode, prefill = unit.spent
    cycles, seconds = decode.counters.cycles, decode.seconds
    all_cycles, all_seconds = cycles + prefill.counters.cycles, seconds + prefill.seconds
    steps = max(1, tokens - 1)
    return {
        "machine": unit.hardware.machine.name,
        "accumulators": unit.accumulators,
        "programs": decode.programs + prefill.programs,
        "cycles": all_cycles,
        "cycles_per_token": cycles / steps,
        "simulation_seconds_per_token": seconds / steps,
        "simulated_cycles_per_second": all_cycles / all_seconds if all_seconds else 0.0,
    }


def perplexity_command(
    tokens: Annotated[Path, typer.Option(help="Token file: little-endian 16-bit ids, .u16 or .u16.xz.")],
    model: ModelOption = "tern-18m",
    windows: Annotated[int | None, typer.Option(help="Tokens a window; the model's context by default.")] = None,
    backend: BackendOption = "",
    weight_format: FormatOption = None,
    activation_format: ActivationFormatOption = None,
    kv_format: KeyValueFormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Loss of a model on a token file, in windows that are each predicted from their own context only.

    Formats: `bitloom list` names them; behind a name, -tensor, -row or -gN says what shares a scale. A float format for
    activations is weight-only quantization (W4A16: `--format int4-g128 --activation-format fp16`). A backend
    that is not exact is measured beside exact products.

    Examples: `bitloom perplexity --model tern-18m --tokens valid.u16 --windows 512`,
    `bitloom perplexity --model my-llama --tokens valid.u16 --format int4-g128 --kv-format int8`
    """
    golden = load_model(
        model, backend, weight_format=weight_format, activation_format=activation_format, cache_format=kv_format
    )
    ids = read_tokens(tokens, min(golden.architecture.vocabulary_size, 1 << 16))
    window = golden.architecture.context_tokens if windows is None else windows
    with progress_bar("predicting tokens", max(0, len(ids) - 1)) as advance:
        measured = measure_perplexity(golden, ids, window, advance)
    document: dict[str, Any] = {
        "nats_per_token": measured.nats_per_token,
        "perplexity": measured.perplexity,
        "bits_per_weight": golden.weights.bits_per_weight,
        "tokens_per_second": measured.tokens_per_second,
        "tokens": measured.tokens,
        "window_tokens": window,
        "model": golden.architecture.name,
        "backend": golden.backend if golden.multiplies_integers else "float32",
        "weight_format": golden.weights.weight_format,
        "activation_format": golden.precision.activations.name,
        "cache_format": golden.precision.cache.name if golden.precision.cache else "fp32",
    }
    if not backend_named(golden.backend).exact:
        with progress_bar("the same with exact products", max(0, len(ids) - 1)) as advance:
            exact = measure_perplexity(replace(golden, backend="blas"), ids, window, advance)
        document |= {
            "exact_nats_per_token": exact.nats_per_token,
            "exact_perplexity": exact.perplexity,
            "nats_per_token_difference": measured.nats_per_token - exact.nats_per_token,
        }
    if as_json:
        print_json(document)
        return
    rows = [
        [name.replace("_", " "), f"{value:,.4f}" if isinstance(value, float) else str(value)]
        for name, value in document.items()
    ]
    print_table("Perplexity", {"": "left", "value": "right"}, rows)
