"""Recipes: the shipped ones say what was done, and a wrong one is refused with file, field, found and expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import InputError
from workloads.training.recipe import ModelShape, Recipe, Schedule, read_recipe, shipped_recipes

TINY = shipped_recipes()["tiny"].read_text(encoding="utf-8")

schedules = st.builds(
    Schedule,
    steps=st.just(1000),
    sequences_per_step=st.just(1),
    window_tokens=st.just(1),
    peak_learning_rate=st.floats(1e-6, 1),
    warmup_steps=st.integers(0, 100),
    weight_decay=st.floats(0, 0.9),
    first_stage_floor=st.floats(0, 1),
    second_stage_from=st.floats(0.2, 0.8),
    second_stage_factor=st.floats(0.01, 1),
)


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in TINY
    path = tmp_path / "changed.toml"
    path.write_text(TINY.replace(old, new), encoding="utf-8")
    return path


def test_the_recipe_of_tern_18m_is_the_training_that_its_record_tells() -> None:
    recipe = read_recipe("tern-18m")
    schedule = recipe.schedule
    assert (recipe.model.parameters, recipe.model.ternary_weights) == (20_204_032, 18_087_936)
    assert schedule.steps is not None
    assert schedule.steps * schedule.sequences_per_step * schedule.window_tokens == 977_010_688
    assert recipe.data.shares_at(0.84) == {"kids": 0.350, "gen": 0.646, "stories": 0.004}
    assert recipe.data.shares_at(0.85) == {"kids": 0.550, "gen": 0.439, "stories": 0.011}


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (5, 0.000040),
        (746, 0.002934),
        (1494, 0.002742),
        (2241, 0.002443),
        (2987, 0.002067),
        (3732, 0.000990),
        (4477, 0.000895),
        (5221, 0.000648),
        (5966, 0.000342),
        (6711, 0.000094),
        (7083, 0.000024),
    ],
)
def test_the_rate_follows_the_recorded_run_of_tern_18m(step: int, rate: float) -> None:
    schedule = read_recipe("tern-18m").schedule
    # The recorded run followed the clock, so its fractions are a few thousandths of a percent off those by step.
    assert schedule.learning_rate(step - 1, step / 7454) == pytest.approx(rate, abs=4e-6)


def test_tiny_has_about_a_million_parameters() -> None:
    recipe = read_recipe("tiny")
    assert 0.9e6 < recipe.model.parameters < 1.2e6
    assert recipe.precision == "float32"
    assert not recipe.compile


@given(schedule=schedules, fraction=st.floats(0, 1), step=st.integers(0, 1000))
def test_the_rate_is_never_negative_nor_above_its_peak(schedule: Schedule, fraction: float, step: int) -> None:
    assert 0 <= schedule.learning_rate(step, fraction) <= schedule.peak_learning_rate


@given(schedule=schedules, fractions=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_after_the_warm_up_the_rate_only_falls_and_ends_at_zero(
    schedule: Schedule, fractions: tuple[float, float]
) -> None:
    earlier, later = sorted(fractions)
    assert schedule.learning_rate(100, earlier) >= schedule.learning_rate(100, later)
    assert schedule.learning_rate(100, 1.0) == 0


@given(schedule=schedules, fraction=st.floats(0, 1))
def test_weight_decay_ends_where_the_second_stage_begins(schedule: Schedule, fraction: float) -> None:
    expected = schedule.weight_decay if fraction < schedule.second_stage_from else 0
    assert schedule.weight_decay_at(fraction) == expected


def test_a_recipe_survives_its_json_form() -> None:
    for name in shipped_recipes():
        recipe = read_recipe(name)
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("warmup_steps = 50", "warmup_step = 50", "schedule.warmup_step"),
        ("warmup_steps = 50", "warmup_steps = -1", "schedule.warmup_steps"),
        ("warmup_steps = 50", "warmup_steps = 1000", "schedule.warmup_steps"),
        ("steps = 1000", "", "schedule.time_budget_seconds"),
        ("steps = 1000", "steps = 1000\ntime_budget_seconds = 5", "schedule.time_budget_seconds"),
        ("steps = 1000", "steps = 0", "schedule.steps"),
        ("steps = 1000", "steps = 1e3", "schedule.steps"),
        ("window_tokens = 128", "window_tokens = 129", "schedule"),
        ("peak_learning_rate = 3e-3", "peak_learning_rate = nan", "schedule.peak_learning_rate"),
        ("peak_learning_rate = 3e-3", "peak_learning_rate = 0", "schedule.peak_learning_rate"),
        ("weight_decay = 0.1", 'weight_decay = "0.1"', "schedule.weight_decay"),
        ("hidden_size = 128", "hidden_size = 130", "model.hidden_size"),
        ("hidden_size = 128", "hidden_size = 0", "model.hidden_size"),
        ("intermediate_size = 384", "intermediate_size = 131072", "model.intermediate_size"),
        ("num_attention_heads = 4", "num_attention_heads = 3", "model.num_attention_heads"),
        ("num_attention_heads = 4", "num_attention_heads = 128", "model.num_attention_heads"),
        ("num_key_value_heads = 2", "num_key_value_heads = 3", "model.num_key_value_heads"),
        ("vocab_size = 1024", "vocab_size = 65537", "model.vocab_size"),
        ("vocab_size = 1024", "", "model.vocab_size"),
        ("shares = { text = 1.0 }", "shares = { text = 0.9 }", "data.stages"),
        ("shares = { text = 1.0 }", "shares = { texts = 1.0 }", "data.stages"),
        ("from_fraction = 0.0", "from_fraction = 0.1", "data.stages"),
        ('file = "text_train.u16"', 'file = "text_train.txt"', "data.train.0.file"),
        ('precision = "float32"', 'precision = "int4"', "precision"),
        ("seed = 0", "seed = -1", "seed"),
        ("seed = 0", "seed = true", "seed"),
        ("[records]", "[record]", "record"),
    ],
)
def test_a_wrong_value_is_named_with_its_file_and_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    assert (caught.value.source, caught.value.field) == (str(path), field)


def test_stages_out_of_order_are_refused(tmp_path: Path) -> None:
    later = "[[data.stages]]\nfrom_fraction = 0.5\nshares = { text = 1.0 }\n"
    with pytest.raises(InputError, match="rising order"):
        read_recipe(changed(tmp_path, "[schedule]", later + later + "[schedule]"))


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    again = '[[data.held_out]]\nname = "text"\nfile = "other.u16"\n'
    with pytest.raises(InputError, match="sets of different names"):
        read_recipe(changed(tmp_path, "[[data.stages]]", again + "[[data.stages]]"))


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="tern-18m, tiny"):
        read_recipe("tern-19m")


@given(
    line=st.sampled_from([line for line in TINY.splitlines() if "=" in line]),
    value=st.integers(-(2**70), 2**70)
    | st.sampled_from(["0.5", "inf", "nan", "true", '""', '"x"', "[]", "[[1]]", "{}", "{ text = {} }", "1979-05-27"]),
)
def test_any_value_in_any_place_is_accepted_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, line: str, value: int | str
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "recipe.toml"
    path.write_text(TINY.replace(line, f"{line.partition('=')[0]} = {value}", 1), encoding="utf-8")
    try:
        recipe = read_recipe(path)
    except InputError as error:
        assert error.source == str(path)  # noqa: PT017  (accepting the value is right as well)
    else:
        assert recipe.model.parameters > 0


@given(st.binary(max_size=200))
def test_random_bytes_are_no_recipe(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"recipe\.toml"):
        read_recipe(path)


def test_parameters_are_counted_as_the_shapes_say() -> None:
    shape = ModelShape(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=1,
        max_position_embeddings=8,
    )
    projections = 2 * (16 * 16 * 2 + 4 * 16 * 2 + 24 * 16 * 3)
    assert shape.ternary_weights == projections
    assert shape.parameters == projections + 300 * 16 + 2 * (16 + 16 + 16 + 24) + 16
