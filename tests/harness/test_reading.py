"""A results folder is read in Python: tables, environment and figures, as the commands see them."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

import harness
from harness.provenance import ROOT
from harness.results.store import Store
from tests.support.cells import ENVIRONMENT
from tests.support.tables import grid, memory_table


@pytest.fixture
def folder(tmp_path) -> Path:
    rows = (
        memory_table(grid(["8,4x3,3", "8,4x6,3"], batches=(5,), frequencies=(2,)))
        .drop(columns="chain")
        .to_dict("records")
    )
    rows = [{name: None if value is pd.NA or value != value else value for name, value in row.items()} for row in rows]
    Store(tmp_path / "tiny").publish({"memory": rows}, ENVIRONMENT)
    return tmp_path / "tiny"


def test_the_tables_are_those_of_the_files(folder):
    (name,) = (tables := harness.open_results(folder).tables)
    assert name == "memory"
    written = pd.read_csv(folder / "memory.csv")
    assert list(tables["memory"].columns) == [*written.columns, "chain"]
    assert tables["memory"].memray_peak_bytes.tolist() == written.memray_peak_bytes.tolist()


@pytest.mark.parametrize("path", sorted(ROOT.glob("results/*/environment.json")), ids=lambda path: path.parent.name)
def test_the_environment_is_all_that_its_file_tells(path):
    results = harness.open_results(str(path.parent))
    assert results.environment == json.loads(path.read_text())
    assert list(results.figures) == results.environment["experiment"]["figures"]


def test_a_figure_is_drawn_and_nothing_is_written(folder):
    before = sorted(folder.rglob("*"))
    figure = harness.open_results(folder).figure("peak_by_depth")
    assert figure.axes
    figure.savefig(picture := io.BytesIO(), format="svg")
    assert b"<svg" in picture.getvalue()
    assert sorted(folder.rglob("*")) == before


def test_what_cannot_be_read_or_drawn_is_one_line(folder, tmp_path):
    results = harness.open_results(folder)
    for name, said in (("growht", "unknown figure 'growht'"), ("time_ratio", "figure time_ratio needs time.csv")):
        with pytest.raises(ValueError, match=said):
            results.figure(name)
    with pytest.raises(ValueError, match="run the experiment first"):
        harness.open_results(tmp_path / "nowhere")


def test_it_is_shown_with_its_folder_and_its_tables(folder):
    assert repr(harness.open_results(folder)) == f"<OpenedResults {folder}: memory>"


def test_the_package_has_no_other_names():
    assert not hasattr(harness, "nothing")
