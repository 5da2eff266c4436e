"""Committed bytes measured again, and one cell's peak as memray draws it."""

import csv
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import provenance
from harness.commands.command_line import app
from tests.support.cells import publish_as_they_are

TEXT = """
title = "Tiny"
measure = ["memory"]
[grid]
layers = ["8,4x3,3", "8,4x4,3"]
batch = [5]
schedule = ["sqrt()"]
"""
PEERS = """
title = "Tiny"
measure = ["peers_memory"]
[grid]
layers = ["8,4x4,3"]
batch = [5]
network = ["Network"]
peer = ["sklearn.backprop"]
"""
LARGER = ("memray_peak_bytes", "memray_backward_peak_bytes", "residual_bytes", "memray_workspace_bytes")


def invoke(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    (folder / "tiny.toml").write_text(TEXT)
    assert invoke("run", folder / "tiny.toml", "--results", folder).exit_code == 0
    return folder / "tiny"


@pytest.fixture
def results(measured, tmp_path) -> Path:
    return Path(shutil.copytree(measured, tmp_path / "tiny"))


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_measured_here_verifies_and_nothing_is_written(results):
    before = content(results)
    result = invoke("verify", results)
    assert (result.exit_code, result.stdout) == (0, f"{results}: 4 of 4 cells equal to the byte\n")
    assert content(results) == before
    assert invoke("verify", results, "--cells", 1).stdout == f"{results}: 1 of 1 cells equal to the byte\n"


def test_a_difference_is_named_with_its_kind_and_what_was_not_alike(results):
    path = results / "memory.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for name in LARGER:
        rows[1][name] = int(rows[1][name]) + 64
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    publish_as_they_are(results)
    environment = results / "environment.json"
    environment.write_text(environment.read_text().replace('"python": "', '"python": "2.7, then '))
    result = invoke("verify", results)
    assert result.exit_code == 1
    line, summary, *causes = result.stdout.splitlines()
    assert line.startswith(f"8,4x3,3, batch 5, float32, sqrt() ({rows[1]['cell_id']}): memray_peak_bytes ")
    assert line.count("(-64)") == len(LARGER)
    assert "memray_workspace_bytes" in line
    assert summary == f"{results}: 3 of 4 cells equal to the byte"
    assert len(causes) == 1
    assert causes[0].startswith("  not measured alike: machine.python: 2.7, then ")


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (
            lambda folder: (folder / "memory.csv").unlink(),
            "{}/memory.csv: is not what a run wrote: it cannot be read (No such file or directory)",
        ),
        (
            lambda folder: [(folder / "memory.csv").write_text("a\n"), publish_as_they_are(folder)],
            "{}/memory.csv: has no column cell_id",
        ),
        (shutil.rmtree, "{}: there is no such folder of results; none is there"),
        (
            lambda folder: [(folder / name).unlink() for name in ("environment.json", "datapackage.json")],
            "{}/environment.json: cannot be read (No such file or directory); run the experiment first",
        ),
        (
            lambda folder: (folder / "environment.json").write_text("{}"),
            "{}/environment.json: is not what a run wrote: ",
        ),
        (
            lambda folder: (folder / "memory.csv").write_text("a\n"),
            "{}/memory.csv: is not what a run wrote: its hash is not that in datapackage.json; put it back",
        ),
    ],
)
def test_a_folder_that_cannot_be_verified_is_one_line(results, damage, line):
    damage(results)
    result = invoke("verify", results)
    assert result.exit_code == 2
    assert result.stderr.startswith(line.format(results))
    assert len(result.stderr.splitlines()) == 1


def test_parameters_that_do_not_make_the_id_are_one_line(results):
    path = results / "memory.csv"
    path.write_text(path.read_text().replace(",5,float32,", ",6,float32,"))
    publish_as_they_are(results)
    result = invoke("verify", results)
    assert result.exit_code == 2
    assert "its parameters are those of" in result.stderr


def test_other_frameworks_cells_are_verified_where_those_are_installed(tmp_path, monkeypatch):
    (tmp_path / "peers.toml").write_text(PEERS)
    assert invoke("run", tmp_path / "peers.toml", "--results", tmp_path).exit_code == 0
    results = tmp_path / "peers"
    assert invoke("verify", results).stdout == f"{results}: 2 of 2 cells equal to the byte\n"
    monkeypatch.setattr(provenance, "are_installed", lambda packages: False)
    assert invoke("verify", results).stdout.splitlines() == [
        f"{results}: 1 of 1 cells equal to the byte",
        "  1 cells left out: sklearn not installed",
    ]


def test_a_flame_graph_is_memrays_page_of_the_cell(results, tmp_path):
    cell_id = (results / "memory.csv").read_text().splitlines()[1].partition(",")[0]
    page = tmp_path / "flame.html"
    result = invoke("flamegraph", cell_id[:10], "--results", results.parent, "--output", page)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"8,4x3,3, batch 5, float32, store-all ({cell_id})", f"  {page}"]
    assert "activation_buffer" in page.read_text()


@pytest.mark.parametrize(("prefix", "reason"), [("zz", "'zz' begins none of 4"), ("", "'' begins 4 of them: ")])
def test_a_flame_graph_needs_one_cell(results, prefix, reason):
    result = invoke("flamegraph", prefix, "--results", results)
    assert result.exit_code == 2
    assert reason in result.stderr


@pytest.mark.parametrize("name", ["page.txt", "memory.csv", "page"])
def test_a_flame_graph_writes_over_no_file_that_is_no_page(results, name):
    before = content(results)
    result = invoke("flamegraph", "0", "--results", results, "--output", results / name)
    assert (result.exit_code, result.stderr) == (2, f"--output must end in .html, got '{results / name}'\n")
    assert content(results) == before
