"""The notebook of an instruction that is not there yet: it runs as shipped, and what it claims is true."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "lookup_instruction.ipynb"


def test_every_claim_of_the_notebook_holds(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    done = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    claims = sum(cell.source.count("claim(") for cell in notebook.cells if cell.cell_type == "code") - 1
    assert printed.count("✓") == claims == 6
    assert sum("application/vnd.plotly.v1+json" in output.get("data", {}) for output in outputs) == 1


def test_it_is_committed_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
