"""The page as a file: what it says, the data in it, and that a browser has nothing to fetch for it."""

import csv
import re
from collections import defaultdict
from dataclasses import replace
from html.parser import HTMLParser
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from harness.analysis.each_row import each_row
from harness.commands.command_line import app
from harness.experiment.cell import Cell
from harness.provenance import ROOT
from harness.report.packing import unpacked
from harness.results.store import Store
from tests.support.cells import ENVIRONMENT, store_all_cell
from tests.support.tables import memory_table

FETCHING = {"src", "srcset", "action", "formaction", "poster", "data", "background", "ping"}


class Elements(HTMLParser):
    """The attributes of a page's elements, and its text by element."""

    def __init__(self, page: str):
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: defaultdict[str, list[str]] = defaultdict(list)
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts[self._open].append(data)


def report(output: Path, *folders: str) -> Any:
    return CliRunner().invoke(
        app, ["report", *(str(ROOT / "results" / name) for name in folders), "--output", str(output)]
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    output = tmp_path_factory.mktemp("report") / "page.html"
    done = report(output, "cache_timeline", "training")
    assert done.exit_code == 0, done.output
    return output.read_text()


@pytest.fixture(scope="module")
def elements(page) -> Elements:
    return Elements(page)


@pytest.fixture(scope="module")
def data(elements) -> dict[str, Any]:
    (text,) = [text for text in elements.texts["script"] if re.fullmatch(r"[A-Za-z0-9+/=]+", text)]
    return unpacked(text)


def lines(experiment: str, table: str) -> list[dict[str, str]]:
    with (ROOT / "results" / experiment / f"{table}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_nothing_is_fetched(elements):
    """Vega's script has names of XML and addresses in messages; what counts is what a browser would load."""
    assert not [found for found in elements.attributes if found[1] in FETCHING]
    links = [value for _, name, value in elements.attributes if name == "href"]
    assert links
    assert all(link.startswith("#") for link in links)
    (policy,) = [value for _, name, value in elements.attributes if name == "content" and "default-src" in value]
    allowed = dict(part.split(maxsplit=1) for part in policy.split("; "))
    assert allowed.pop("default-src") == "'none'"
    assert not re.search(r"https?:|\*", " ".join(allowed.values()))


def test_no_address_stands_in_what_is_ours(page, elements):
    own = [text for text in elements.texts["script"] if "class DataTable" in text]
    assert len(own) == 1
    around = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    space = "http://www.w3.org/2000/svg"  # the name of a language: no browser loads it
    assert "://" not in around + own[0].replace(space, "") + "".join(elements.texts["style"])


def test_each_experiment_has_its_question_its_answer_and_how_to_repeat_it(page):
    apart = max(
        abs(int(row["memray_live_bytes"]) - int(row["live_bytes"])) for row in lines("cache_timeline", "timeline")
    )
    assert f"<strong>{apart / 1024:.2f} KiB</strong>" in page
    assert "Live bytes over one training step" in page
    assert "Activations pile up in the forward pass" in page
    assert "python -m harness run experiments/cache_timeline.toml" in page
    assert "python -m harness verify" in page
    training = page[page.index('id="experiment-training"') :]
    assert "<strong>0</strong>" in training
    assert "verify" not in training[: training.index("</article>")]


def test_the_tables_are_those_of_the_files_with_their_units(data):
    told = {(table["experiment"], table["name"]): table["columns"] for table in data["tables"]}
    assert told.keys() == {
        *(("cache_timeline", name) for name in ("memory", "timeline", "resident")),
        ("training", "training"),
    }
    for (experiment, table), columns in told.items():
        rows = lines(experiment, table)
        assert [column["name"] for column in columns] == list(rows[0])
        for column in columns:
            written = [row[column["name"]] or None for row in rows]
            read = [None if text is None else float(text) if column["numeric"] else text for text in written]
            assert column["values"] == read, column["name"]
        units = {column["name"]: column["unit"] for column in columns}
        assert all(units[name] == "byte" for name in units if name.endswith("_bytes"))
        assert all(units[name] == "second" for name in units if name.endswith("_seconds"))


def test_the_raster_holds_what_the_measured_timeline_says(data):
    (network,) = data["raster"]["networks"]
    measured = defaultdict(list)
    for row in lines("cache_timeline", "timeline"):
        measured[row["checkpoint_frequency"]].append(row)
    steps = {step["name"].removeprefix("n = ").replace("store-all", ""): step for step in network["steps"]}
    assert steps.keys() == measured.keys()
    for frequency, step in steps.items():
        changes = [0] * (step["events"] + 1)
        spans = zip(*[iter(step["spans"])] * 4, strict=True)
        for layer, state, start, stop in spans:
            gradients = data["raster"]["states"][state] == "weight gradients"
            nbytes = network["parameter_delta_bytes" if gradients else "bytes"][layer]
            changes[start] += nbytes
            changes[stop] -= nbytes
        rows = measured[frequency]
        assert list(accumulate(changes[:-1])) == [int(row["live_bytes"]) for row in rows]
        assert step["memray"] == [int(row["memray_live_bytes"]) for row in rows]
        assert step["backward"] == next(event for event, row in enumerate(rows) if row["phase"] == "backward")


def test_the_explorer_has_every_cell_and_none_beats_the_optimum(data):
    explorer = data["explorer"]
    cells = {cell["cell_id"]: cell for cell in explorer["cells"]}
    rows = lines("cache_timeline", "memory")
    assert {row["cell_id"]: int(row["memray_peak_bytes"]) for row in rows} == {
        name: cell["memray_peak_bytes"] for name, cell in cells.items()
    }
    for cell in cells.values():
        peak = cell["predicted_peak_bytes"] / 2**20
        least = min(point["work_ratio"] for point in explorer["optimum"] if point["peak_mib"] <= peak + 1e-9)
        assert cell["work_ratio"] >= least - 1e-9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["results/smoke", "--output", "page.pdf"], "--output must end in .html, got 'page.pdf'"),
        (["nowhere/at/all"], "nowhere/at/all: there is no such folder of results; none is there"),
        (
            ["results/training", "results/training"],
            "training: two folders hold results of this experiment; name one of them",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, ["report", *arguments])
    assert (done.exit_code, done.output.replace("\n", " ").strip()) == (2, message)


def published(folder: Path, cells: list[Cell]) -> Path:
    """A folder of results with a memory table of these cells, whose schedule none but its author has."""
    rows = memory_table([replace(cell, schedule=None, checkpoint_frequency=None) for cell in cells]).drop(
        columns="chain"
    )
    rows = rows.assign(schedule=[cell.schedule for cell in cells], cell_id=[cell.cell_id for cell in cells])
    told = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in each_row(rows)]
    Store(folder).publish({"memory": told}, ENVIRONMENT)
    return folder


@pytest.mark.parametrize("compared", [True, False], ids=["beside store-all", "alone"])
def test_a_strangers_schedule_is_shown_and_never_run(tmp_path, compared):
    plain = store_all_cell("8,4x3,3", batch=5)
    strange = replace(plain, network="NetworkWithCheckpointing", schedule="gone.py:fibonacci()")
    folder = published(tmp_path / "tiny", [plain, strange] if compared else [strange])
    output = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", str(folder), "--output", str(output)])
    assert done.exit_code == 0, done.output
    (text,) = re.findall(r'id="data">([^<]+)<', output.read_text())
    data = unpacked(text)
    assert [cell["kind"] for cell in data["explorer"]["cells"]][-1] == "gone.py:fibonacci"
    steps = [step["name"] for network in data["raster"]["networks"] for step in network["steps"]]
    assert steps == (["store-all"] if compared else [])
