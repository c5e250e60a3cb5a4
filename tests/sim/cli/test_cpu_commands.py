"""`bitloom advise` and `bitloom reproduce`, as users and scripts rely on them."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


def bitloom(*arguments, code=0):
    command = [Path(sys.executable).parent / "bitloom", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


ADVISE = ("advise", "--cpu", "zen4", "--model", "bitnet-2b4t")


def test_advice_has_the_keys_that_scripts_read():
    found = json.loads(bitloom(*ADVISE, "--threads", "1,8", "--batch", "1,128", "--json")[0])
    assert [(choice["threads"], choice["batch"]) for choice in found["choices"]] == [(1, 1), (1, 128), (8, 1), (8, 128)]
    for choice in found["choices"]:
        assert {"kernel", "tokens_per_second", "bound_by", "head_share", "others"} <= set(choice)
        assert choice["tokens_per_second"] >= max(other["tokens_per_second"] for other in choice["others"])
    # One thread reads weights from DRAM as fast as it can; in a prompt arithmetic is what counts.
    assert found["choices"][0]["bound_by"] == "DRAM"
    assert found["choices"][1]["bound_by"] != "DRAM"


def test_a_core_file_of_ones_own_is_taken(tmp_path):
    shipped = Path(__file__).parents[3] / "sim" / "machines" / "cpu" / "zen4.toml"
    mine = tmp_path / "mine.toml"
    mine.write_text(shipped.read_text().replace("gb_per_second = 25.0", "gb_per_second = 12.5"))
    slow, usual = (
        json.loads(bitloom("advise", "--cpu", cpu, "--model", "bitnet-2b4t", "--kernel", "I2_S[1x1]", "--json")[0])
        for cpu in (mine, "zen4")
    )
    assert slow["choices"][0]["tokens_per_second"] < 0.6 * usual["choices"][0]["tokens_per_second"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cpu", "zen9", "--model", "bitnet-2b4t"), "zen4"),
        (("--cpu", "zen4", "--model", "no-such"), "bitnet-2b4t"),
        (("--cpu", "zen4", "--model", "bitnet-2b4t", "--threads", "1;2"), "--threads"),
        (("--cpu", "zen4", "--model", "bitnet-2b4t", "--threads", "99"), "1 to 8"),
        (("--cpu", "zen4", "--model", "bitnet-2b4t", "--batch", "0"), "--batch"),
        (("--cpu", "zen4", "--model", "bitnet-2b4t", "--kernel", "no such"), "one of I2_S[1x1]"),
    ],
)
def test_wrong_questions_are_answered_by_what_would_be_right(arguments, message):
    _, error = bitloom("advise", *arguments, code=2)
    assert message in " ".join(error.split())


def test_figures_are_printed_side_by_side_and_saved(tmp_path):
    out = tmp_path / "figures.csv"
    found = json.loads(bitloom("reproduce", "zen4-kernels", "--out", out, "--json")[0])
    assert all(item.keys() >= {"name", "published", "ours", "error", "kind"} for item in found["items"])
    assert {item["kind"] for item in found["items"]} == {"predicted", "calibrated"}
    assert found["summaries"]["zen4-kernels"]["figures"] == len(found["items"]) == len(pd.read_csv(out))


@pytest.mark.parametrize("arguments", [(), ("--all", "tmac"), ("no-such",)])
def test_publications_are_named(arguments):
    assert "zen4-kernels" in bitloom("reproduce", *arguments, code=2)[1]
