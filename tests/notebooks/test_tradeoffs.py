"""The notebook of trade-offs: it runs as shipped, and everything that its prose claims is true of the data."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from sim.study.sweep import load_results, load_study, shipped_studies

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "tradeoffs.ipynb"
FORMATS = '["int1", "ternary", "int2", "int3", "int4", "int5", "int6", "int7", "int8"]'
FEWER_FORMATS = '["int1", "ternary", "int3", "int4", "int8"]'


def execute(study: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> nbformat.NotebookNode:
    """Run the notebook in a kernel of its own and give it back with its outputs; a claim that fails is an error."""
    monkeypatch.setenv("BITLOOM_STUDY", study)
    monkeypatch.setenv("BITLOOM_STUDY_DIR", str(folder / "results"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.output_type == "stream")


def charts(notebook: nbformat.NotebookNode) -> int:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs)


def test_every_claim_of_the_notebook_holds_on_the_study_with_fewer_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shipped_studies()["tradeoffs"].read_text(encoding="utf-8")
    assert text.count(FORMATS) == text.count("[[workload]]")
    study = tmp_path / "fewer-formats.toml"
    study.write_text(text.replace(FORMATS, FEWER_FORMATS), encoding="utf-8")
    notebook = execute(str(study), tmp_path, monkeypatch)
    claims = sum(cell.source.count("claim(") for cell in notebook.cells if cell.cell_type == "code") - 1
    assert printed(notebook).count("✓") >= claims > 30
    assert "stderr" not in {output.get("name") for cell in notebook.cells for output in cell.get("outputs", [])}
    assert charts(notebook) == 6
    assert len(load_results(tmp_path / "results")) == len(load_study(study))


@pytest.mark.slow
def test_every_claim_of_the_notebook_holds_on_the_whole_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = execute("tradeoffs", tmp_path, monkeypatch)
    assert charts(notebook) == 6
    assert len(load_results(tmp_path / "results")) == len(load_study("tradeoffs"))


def test_the_notebook_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
