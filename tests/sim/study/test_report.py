"""The report is one page that stands alone, says what was run, and shows untrusted text as text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sim.evaluation import simulate
from sim.evaluation.fidelity import compare_fidelities
from sim.functional import Sampler, load_model, record_trace
from sim.study.report import Report, agreement, render_report
from sim.timing import load_machine, shipped_machines
from workloads import Trace, resolve_checkpoint, shape_only_trace
from workloads.catalog import load_model_architecture
from workloads.tokenizer import Tokenizer

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOSTILE = "<script>document.body.dataset.injected = 1</script><img src=x onerror='document.body.dataset.injected = 1'>"


def report_of(trace: Trace, machine_names: Iterable[str], prompt: str = "", text: str = "") -> Report:
    """A report of a trace on shipped machines."""
    machines = [load_machine(name) for name in machine_names]
    results = tuple(simulate(machine, trace, "event") for machine in machines)
    comparisons = tuple(compare_fidelities(simulate(result.machine, trace, "analytic"), result) for result in results)
    return Report("A run", prompt, text, trace, results, comparisons, "2026-01-02T03:04:05+00:00", "bitloom run")


def shapes(prefill_tokens: int = 3, decode_steps: int = 2) -> Trace:
    architecture = load_model_architecture("tern-18m")
    return shape_only_trace(architecture, prefill_tokens=prefill_tokens, decode_steps=decode_steps, context_tokens=3)


@pytest.fixture(scope="module")
def run() -> Report:
    """A real run: 8 tokens of the shipped model."""
    prompt = "Once upon a time"
    model, checkpoint = load_model("tern-18m"), resolve_checkpoint("tern-18m")
    tokenizer = Tokenizer.read(checkpoint.path / "tokenizer.json", checkpoint.architecture.vocabulary_size)
    ids = tokenizer.encode(prompt)
    generation, trace = record_trace(model, [ids], 8, Sampler.greedy(), texts=[prompt])
    return report_of(trace, shipped_machines(), prompt, tokenizer.decode([*ids, *generation.token_ids[0]]))


@pytest.fixture(scope="module")
def page(run: Report) -> str:
    return render_report(run)


@pytest.fixture(scope="module")
def hostile_page(run: Report) -> str:
    return render_report(hostile_report(run))


def hostile_report(run: Report) -> Report:
    """The run with markup in every text that comes from outside."""
    identity = run.trace.identity.model_copy(update={"model": HOSTILE, "sampling": HOSTILE})
    results = tuple(
        replace(
            result,
            machine=result.machine.model_copy(update={"description": HOSTILE}),
            operations=result.operations.assign(name=rename(result.operations["name"])),
        )
        for result in run.results
    )
    deviating = [
        comparison.assign(name=rename(comparison["name"]), reason="contention") for comparison in run.comparisons
    ]
    return Report(
        title=HOSTILE,
        prompt=HOSTILE,
        text=HOSTILE + " and <i>then</i>",
        trace=replace(run.trace, identity=identity),
        results=results,
        comparisons=tuple(deviating),
        created=HOSTILE,
        command=HOSTILE,
    )


def rename(names: pd.Series[Any]) -> pd.Series[Any]:
    return names.cat.rename_categories({"self_attn.q_proj": f"<b>query</b>{HOSTILE}"})


class Page(HTMLParser):
    """The elements and the text of a page outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = self._raw and tag not in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_says_what_was_run_and_what_came_out(run: Report, page: str) -> None:
    text = Page(page).text
    identity = run.trace.identity
    said = [run.prompt, run.created, run.command, identity.model, identity.sampling, identity.bitloom_version]
    for result in run.results:
        rates = result.prefill_tokens_per_second, result.decode_tokens_per_second
        said += [result.machine.name, result.machine.description, *(f"{rate:,.0f}" for rate in rates if rate)]
        said += [source for part in result.machine.parts.values() for source in part.component.sources]
    assert identity.model_sha256
    for needle in (*said, identity.model_sha256, run.text.removeprefix(run.prompt)):
        assert needle in text


def test_the_page_refers_to_nothing_outside_itself(page: str) -> None:
    parsed = Page(page)
    links = [attributes[key] or "" for _, attributes in parsed.elements for key in ("src", "href") if key in attributes]
    assert all(link.startswith("#") for link in links)
    policies = [meta["content"] or "" for meta in parsed.attributes("meta") if "http-equiv" in meta]
    assert [policy.split(";")[0] for policy in policies] == ["default-src 'none'"]
    assert page.count("* plotly.js v") == 1


def test_every_link_to_a_source_has_its_target(page: str) -> None:
    parsed = Page(page)
    targets = {f"#{attributes['id']}" for _, attributes in parsed.elements if "id" in attributes}
    links = {attributes["href"] for attributes in parsed.attributes("a")}
    assert links
    assert links <= targets


def test_figures_of_another_node_than_the_machine_are_marked(run: Report, page: str) -> None:
    marked = {
        result.machine.name: [
            part.component.node_nm
            for part in result.machine.parts.values()
            if part.component.node_nm not in (0, result.machine.technology_nm)
        ]
        for result in run.results
    }
    assert marked["lut-m2n64k4"] == [45]
    text = Page(page).text
    assert text.count("≠ 45 nm") == sum(nodes.count(45) for nodes in marked.values())
    moved = replace(run.results[0], machine=run.results[0].machine.model_copy(update={"technology_nm": 7}))
    shown = Page(render_report(replace(run, results=(moved,), comparisons=run.comparisons[:1]))).text
    logic = [part for part in moved.machine.parts.values() if part.component.node_nm == 28]
    assert shown.count("≠ 28 nm") == len(logic) > 0


def test_agreement_weighs_operations_by_their_time() -> None:
    comparison = pd.DataFrame(
        [
            ("decode", "q_proj", 10, 90, 90, 0.0, ""),
            ("decode", "scores", 4, 10, 20, -0.5, "fill"),
            ("decode", "scores", 1, 21, 20, 0.1, "fill"),
            ("prefill", "scores", 1, 5, 0 + 4, 0.25, "contention"),
        ],
        columns=["phase", "name", "count", "analytic_cycles", "event_cycles", "error", "reason"],
    )
    found = agreement("a machine", comparison)
    total = 900 + 80 + 20 + 4
    assert found.share == pytest.approx(900 / total)
    assert found.error == pytest.approx((900 + 40 + 21 + 5) / total - 1)
    assert [(row.phase, row.name, row.count, row.reason) for row in found.deviations] == [
        ("decode", "scores", 5, "fill"),
        ("prefill", "scores", 1, "contention"),
    ]
    assert found.deviations[0].worst_error == -0.5
    assert found.share_of("fill") == pytest.approx(100 / total)
    assert found.share_of("drain") == 0


def test_agreement_of_a_real_run_accounts_for_all_time(run: Report) -> None:
    for comparison in run.comparisons:
        found = agreement("a machine", comparison)
        assert found.share + sum(row.share for row in found.deviations) == pytest.approx(1)
        assert 0 < found.share <= 1


def test_the_page_does_not_grow_with_the_number_of_steps() -> None:
    short, long = (render_report(report_of(shapes(decode_steps=steps), ["int8-mac"])) for steps in (2, 60))
    assert abs(len(long) - len(short)) < 2000


@pytest.mark.parametrize(("prefill_tokens", "decode_steps"), [(0, 1), (3, 0)])
def test_a_run_of_one_phase_has_a_report(prefill_tokens: int, decode_steps: int) -> None:
    text = Page(render_report(report_of(shapes(prefill_tokens, decode_steps), ["int8-mac"]))).text
    assert "this trace was made from shapes alone" in text
    assert "–" in text


def test_a_report_needs_a_result_and_a_comparison_for_each(run: Report) -> None:
    with pytest.raises(ValueError, match="at least one result"):
        render_report(replace(run, results=(), comparisons=()))
    with pytest.raises(ValueError, match="zip"):
        render_report(replace(run, comparisons=run.comparisons[:1]))


def test_texts_from_outside_stay_text(hostile_page: str) -> None:
    parsed = Page(hostile_page)
    assert not parsed.attributes("img")
    assert len(parsed.attributes("script")) == 4
    assert parsed.text.count(HOSTILE) >= 6


# What the tests ask the page, after its charts were drawn; it answers in a data attribute of <body>.
QUESTIONS = """
<script>
addEventListener("load", () => {
  const along = bars => bars.orientation == "h" ? bars.x : bars.y;
  const marks = trace => trace.type == "bar" ? along(trace).filter(length => length > 0)
    : trace.mode == "markers" ? trace.x : [];
  const charts = [...document.querySelectorAll(".chart")].map(chart => {
    const curveNumber = chart.data.findLastIndex(trace => trace.hoverinfo == "text");
    const pointNumber = Math.max(0, chart.data[curveNumber].hovertext.findIndex(text => text.includes("query")));
    Plotly.Fx.hover(chart, [{ curveNumber, pointNumber }]);
    return {
      name: chart.id,
      expected: chart.data.flatMap(marks).length,
      drawn: chart.querySelectorAll("svg .barlayer .point path, svg .scatterlayer .points path").length,
      right: Math.max(...[...chart.querySelectorAll("svg")].map(svg => svg.getBoundingClientRect().right)),
      hover: chart.querySelector(".hoverlayer").textContent,
    };
  });
  const { scrollWidth } = document.documentElement;
  document.body.dataset.answers = JSON.stringify({ charts, scrollWidth, innerWidth,
    requests: performance.getEntriesByType("resource").length });
});
</script>
"""
FRAME = """
<iframe src="report.html" style="width: 390px; height: 844px; border: 0"></iframe>
<script>
addEventListener("load", () => Object.assign(document.body.dataset, frames[0].document.body.dataset));
</script>
"""


def browser() -> str:
    """The browser on this machine; a test without one is skipped, except in continuous integration."""
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"no browser: none of {', '.join(BROWSERS)} is on PATH")
    return found or pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)} on PATH (`make test` installs it)")


def opened(page: str, folder: Path, *, phone: bool = False) -> tuple[dict[str, Any], Page]:
    """What the page answers in the browser, and how it stands there in the end; fails on a JavaScript error."""
    command = browser()
    report, frame = folder / "report.html", folder / "phone.html"
    report.write_text(page.replace("</body>", QUESTIONS + "</body>"), encoding="utf-8")
    frame.write_text(FRAME, encoding="utf-8")
    options = [
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-background-networking", "--disable-sync", "--disable-component-update"),
        *("--allow-file-access-from-files", "--window-size=1280,1024", "--virtual-time-budget=30000"),
        f"--user-data-dir={folder / 'profile'}",
    ]
    url = (frame if phone else report).as_uri()
    done = subprocess.run([command, *options, "--dump-dom", url], capture_output=True, timeout=240, check=True)
    dumped = Page(done.stdout.decode())
    (body,) = dumped.attributes("body")
    assert "data-errors" not in body
    return json.loads(body["data-answers"] or ""), dumped


def test_a_browser_draws_every_chart_without_the_network(run: Report, page: str, tmp_path: Path) -> None:
    answers, _ = opened(page, tmp_path)
    machines, one_per_phase_and_machine = len(run.results), 2 * len(run.results)
    assert len(answers["charts"]) == 2 + machines + 2 + machines + 1 + machines + one_per_phase_and_machine
    for chart in answers["charts"]:
        assert chart["drawn"] >= chart["expected"] > 0, chart
        assert chart["hover"], chart
    assert answers["requests"] == 0


def test_on_a_phone_nothing_is_wider_than_the_screen(page: str, tmp_path: Path) -> None:
    answers, _ = opened(page, tmp_path, phone=True)
    assert answers["scrollWidth"] <= answers["innerWidth"] == 390
    assert all(0 < chart["right"] <= 390 for chart in answers["charts"])


def test_a_browser_runs_no_markup_from_outside_and_shows_it_when_hovering(hostile_page: str, tmp_path: Path) -> None:
    answers, shown = opened(hostile_page, tmp_path)
    (body,) = shown.attributes("body")
    assert "data-injected" not in body
    assert not shown.attributes("img")
    hovers = [chart["hover"] for chart in answers["charts"] if chart["name"].startswith(("roofline", "timeline"))]
    assert len(hovers) == 3 * len(shipped_machines())
    assert all(f"<b>query</b>{HOSTILE}" in hover for hover in hovers)


def test_an_error_in_the_page_does_not_go_unnoticed(page: str, tmp_path: Path) -> None:
    broken = page.replace("Plotly.newPlot(name", "Plotly.newPlot('no-such-chart'")
    assert broken != page
    with pytest.raises(AssertionError, match="data-errors"):
        opened(broken, tmp_path)
