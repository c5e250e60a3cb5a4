"""How a ternary model is trained.

Text becomes tokens (`data`), a `recipe` says what a run does, `corpus` gives it windows of tokens, `model` computes
with quantization-aware training, `loop` trains it with checkpoints to resume from (`checkpoint`), and `export` writes
the Hugging Face checkpoint.

    text ──prepare──► tokenizer.json, NAME.u16 ──run──► checkpoint.safetensors, log.jsonl ──export──► model folder

`model`, `loop`, `checkpoint` and `export` need PyTorch (the extra `train`); the other modules do without it.
Inference of the trained model lives elsewhere: it reads the exported folder and knows nothing of training.
"""

from workloads.training.recipe import Recipe, read_recipe, shipped_recipes

__all__ = ["Recipe", "read_recipe", "shipped_recipes"]
