"""The notebook for a classroom: what it shows is what it computes, and its exercises know right from wrong."""

import importlib.util
import json
import re
from types import ModuleType
from typing import Any

import pytest

import harness
from harness.provenance import ROOT
from networks import dry_run, plan, schedules

NOTEBOOK = ROOT / "notebooks" / "tour.ipynb"


@pytest.fixture(scope="module")
def exercises() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exercises", ROOT / "notebooks" / "exercises.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(kind: str) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def solutions(exercises: ModuleType) -> dict[int, Any]:
    """Those that the notebook's last cell tells, by the number of their exercise."""
    text = "".join(cells("markdown")[-1]["source"])
    (own,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    code = [*re.findall(r"`(answer_\d = [^`]+)`", text), re.sub("^   ", "", own, flags=re.MULTILINE)]
    known = {"DEEP": exercises.DEEP, "BATCH": exercises.BATCH, "dry_run": dry_run, "plan": plan}
    exec("\n".join(code), known)
    return {number: known[f"answer_{number}"] for number in range(1, 6)}


def test_the_solutions_are_right(exercises, capsys):
    memory = harness.open_results(ROOT / "results" / "depth_by_frequency").tables["memory"]
    for number, answer in solutions(exercises).items():
        exercises.check(number, answer, **({"memory": memory} if number == 4 else {}))
        assert capsys.readouterr().out.startswith(f"Exercise {number}: right. ")


@pytest.mark.parametrize(
    ("number", "answers"),
    [
        (1, [7, 9, 0, 65, "8"]),
        (2, [64, 120, 128]),
        (3, [schedules.store_all(), schedules.revolve(slots=6), schedules.periodic(32)]),
        (4, [1, 16]),
        (5, [64, 0]),
    ],
)
def test_wrong_answers_are_told(exercises, capsys, number, answers):
    memory = harness.open_results(ROOT / "results" / "depth_by_frequency").tables["memory"]
    for answer in answers:
        exercises.check(number, answer, **({"memory": memory} if number == 4 else {}))
        assert capsys.readouterr().out.startswith(f"Exercise {number}: not yet. ")


def test_none_is_no_answer(exercises, capsys):
    for number in range(1, 6):
        exercises.check(number, None)
        assert "no answer yet" in capsys.readouterr().out


def shown(outputs: list[Any]) -> list[str]:
    """The words of a cell's outputs, and for a picture that there is one."""
    words = []
    for output in outputs:
        if output["output_type"] == "stream":
            words.append("".join(output["text"]))
        elif "application/vnd.jupyter.widget-view+json" not in output.get("data", {}):
            words += [
                *map("".join, [output["data"]["text/plain"]]),
                *(["png"] if "image/png" in output["data"] else []),
            ]
    return words


def test_it_runs_and_shows_what_it_has_shown(monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    run = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kept = cells("code")
    assert [shown(cell.outputs) for cell in run] == [shown(cell["outputs"]) for cell in kept]
    assert sum("png" in shown(cell["outputs"]) for cell in kept) == 2
