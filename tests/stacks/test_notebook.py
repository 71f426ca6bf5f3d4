"""The notebook runs from top to bottom and shows its pictures; it is kept without them."""

import json

import pytest

from tests.stacks.examples import ROOT, require

require("nbclient", "ipykernel", "matplotlib")

from nbclient import NotebookClient  # noqa: E402
from nbformat import v4  # noqa: E402

NOTEBOOKS = sorted((ROOT / "examples" / "notebook").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    notebook = v4.reads(path.read_text())
    assert not any(cell.get("outputs") for cell in notebook.cells)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(shown) == json.dumps(notebook).count("plt.show()")
    assert not [output for output in outputs if output.get("name") == "stderr"]
