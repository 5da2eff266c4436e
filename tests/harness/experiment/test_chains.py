"""Chains that an experiment file names: read, refused in one line, and told by all that reads the results."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import harness
from harness.commands.command_line import app
from harness.execute.run import Run
from harness.experiment.file import Experiment
from harness.results.folder import read_results
from harness.results.store import Store
from tests.support.runs import Workers

LISTS = {"slim": "8,4x4,3", "waist": "8,4x2,2x2,4x2,3"}
HEAD = 'title = "Chains"\nmeasure = ["memory", "time"]\nfigures = ["pareto_work"]\n'
GRID = """
[grid]
layers = ["waist", "8,6x3,3", "slim"]
batch = [50]
checkpoint_frequency = [2]
schedule = ["optimal(budget_bytes=7400)"]
"""
EQUAL = "8,6x3,3"


def chains(**lists: str) -> str:
    return "[chains]\n" + "".join(f"{name} = {json.dumps(layers)}\n" for name, layers in lists.items())


def load(folder: Path, text: str) -> Experiment:
    path = folder / "named.toml"
    path.write_text(text)
    return Experiment.load(path)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """What a run publishes of an experiment with two chains of a name and one without."""
    folder = tmp_path_factory.mktemp("named")
    workers = Workers()
    experiment = load(folder, HEAD + chains(**LISTS) + GRID)
    run = Run(experiment, Store(folder / "results/named"), execute=workers)
    list(run.execute())
    run.publish()
    return folder / "results/named"


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.output


def test_a_grid_takes_names_and_lists(tmp_path):
    named = load(tmp_path, HEAD + chains(slim="8,4,4,4x2,3", waist=LISTS["waist"]) + GRID)
    listed = load(tmp_path, HEAD + GRID.replace("waist", LISTS["waist"]).replace("slim", LISTS["slim"]))
    assert named.chains == LISTS
    assert named.cells() == listed.cells()
    several = HEAD + chains(**LISTS) + GRID.replace("[grid]", "[[grid]]")
    assert load(tmp_path, several).cells() == listed.cells()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            chains(**LISTS) + GRID.replace("waist", "wait"),
            "grid: layers must be widths such as 64,128x5,10 or a name from [chains], which has slim, waist; "
            "got 'wait'; did you mean waist?",
        ),
        (
            GRID,
            "grid: layers must be widths such as 64,128x5,10 or a name from [chains], which has none; got 'waist'",
        ),
        (
            '[chains]\n64 = "8,4,3"\n' + GRID,
            "chains: a name must begin with a letter and have letters, digits, dashes and underscores alone, at most "
            "30, got '64'",
        ),
        (
            chains(slim="8,4,4,3", waist="8,4x2,3") + GRID,
            "chains: slim and waist have the same layers; leave one of them out",
        ),
        (chains(slim="8,4y,3", waist="8,4,3") + GRID, "chains.slim: layers '8,4y,3': '4y' is not a width such as 128"),
        (chains(slim="waist", waist="8,4,3") + GRID, "chains.slim: layers 'waist': 'waist' is not a width such as 128"),
        (chains(**LISTS, spare="8,3") + GRID, "chains.spare: has no effect, because no grid lists it"),
        ("[chains]\nslim = 3\n" + GRID, "chains.slim: must be a string, got 3"),
        ("chains = 3\n" + GRID, "chains: must be a table, got 3"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, text, problem):
    with pytest.raises(ValueError, match=r"named\.toml: ") as caught:
        load(tmp_path, HEAD + text)
    (line,) = str(caught.value).splitlines()
    assert line.removeprefix(f"{tmp_path / 'named.toml'}: ").startswith(problem)


def test_names_stand_in_environment_json_and_beside_the_tables(results):
    told = json.loads((results / "environment.json").read_text())["experiment"]
    assert told["chains"] == LISTS
    names = {layers: name for name, layers in LISTS.items()} | {EQUAL: ""}
    for name, table in read_results(results).tables().items():
        assert table["chain"].tolist() == [names[layers] for layers in table["layers"]]
        assert "chain" not in (results / f"{name}.csv").read_text().partition("\n")[0]


def test_figures_call_chains_by_their_names(results):
    figure = harness.open_results(results).figure("pareto_work")
    titles = [ax.get_title().partition(":")[0] for ax in figure.axes if ax.get_title()]
    assert sorted(titles) == ["equal", "slim", "waist"]
    caption = " ".join(figure.get_supxlabel().split())
    assert f"waist [{LISTS['waist']}]" in caption
    winners = harness.open_results(results).figure("winners")
    assert sorted(ax.get_title() for ax in winners.axes) == ["equal", "slim", "waist"]


def test_rank_and_report_call_chains_by_their_names(results, tmp_path):
    printed = invoke("rank", results)
    for name in ("slim", "waist"):
        assert f"\n{name} [{LISTS[name]}], batch 50, float32\n" in printed
    with (results / "ranking.csv").open(newline="") as file:
        assert {(row["layers"], row["chain"]) for row in csv.DictReader(file)} == {
            (EQUAL, "equal"),
            *((layers, name) for name, layers in LISTS.items()),
        }
    page = tmp_path / "page.html"
    invoke("report", results, "--output", page)
    assert any(f" in {name} [{layers}] at batch 50" in page.read_text() for name, layers in LISTS.items())


def test_show_has_names_in_its_table_and_their_layers_above(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load(tmp_path, HEAD + chains(**LISTS) + GRID)
    told, table = invoke("show", "named.toml").split("\nlayers ")
    for name, layers in LISTS.items():
        assert f"\n{name}: {layers}\n" in told
        assert table.count(f"\n{name} ") == 3
    assert table.count(f"\n{EQUAL} ") == 3
