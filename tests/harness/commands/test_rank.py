"""The rank command prints its table in each form, and writes it with its schema."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.analysis.variants import SCHEDULE_KINDS
from harness.commands.command_line import app
from harness.experiment.tables import RANKING
from harness.provenance import ROOT
from harness.results.datapackage import sha256_of

HOURGLASS = "64,128x5,64x5,32x10,64x5,128x5,10"
KINDS = [kind for kind in SCHEDULE_KINDS if kind != "store-all"]


def invoke(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "schedules"
    shutil.copytree(ROOT / "results/schedules", folder, ignore=shutil.ignore_patterns("figures", "ranking*"))
    return folder


def test_the_ranking_is_written_with_its_schema_and_printed_as_csv(results):
    result = invoke("rank", results, "--format", "csv")
    assert result.exit_code == 0
    content = (results / "ranking.csv").read_text()
    assert result.stdout == content
    rows = list(csv.DictReader(io.StringIO(content)))
    with (results / "memory.csv").open(newline="") as file:
        asked = {(row["layers"], row["schedule"]) for row in csv.DictReader(file) if "optimal(" in row["schedule"]}
    assert len(rows) == len(asked) * len(KINDS)
    schema = json.loads((results / "ranking.schema.json").read_text())
    assert [field["name"] for field in schema["fields"]] == list(rows[0]) == list(RANKING.names)
    assert schema["madeFrom"] == {"memory.csv": sha256_of((results / "memory.csv").read_bytes())}
    for row in rows:
        for column in RANKING.columns:
            assert row[column.name] or column.filled == "sometimes"
            assert not column.values or row[column.name] in column.values
    assert {row["place"] for row in rows if row["kind"] == "optimal"} == {"1"}
    assert content == (ROOT / "results/schedules/ranking.csv").read_text()


def test_the_table_is_at_most_80_columns_wide(results):
    printed = invoke("rank", results).stdout
    assert max(map(len, printed.splitlines())) <= 80
    assert re.search(r"^evicting dtr +1\.17 +1\.13 ", printed, re.MULTILINE)
    assert "a tie goes to optimal" in printed
    assert re.search(
        r"^geometric means over the [1-9]\d* pairs of chain and budget where all fit$", printed, re.MULTILINE
    )


def test_a_long_heading_is_broken_between_widths(results, tmp_path):
    folder = tmp_path / "long"
    shutil.copytree(results, folder)
    named = "a-name-of-thirty-letters-is-it"
    environment = json.loads((folder / "environment.json").read_text())
    environment["experiment"]["chains"] = {named: HOURGLASS}
    (folder / "environment.json").write_text(json.dumps(environment))
    printed = invoke("rank", folder).stdout
    assert f"\n{named} [64, 128x5, 64x5, 32x10, 64x5, 128x5, 10], batch\n1024, float32\n" in printed


@pytest.mark.parametrize(
    ("form", "line"),
    [
        ("markdown", "| sqrt | - | - | - | 1.25 | 1.40 | 1.51 | 1.62 | 1.73 |"),
        ("latex", r"sqrt & -- & -- & -- & 1.25 & 1.40 & 1.51 & 1.62 & 1.73 \\"),
        ("latex", r"optimal" + 8 * r" & \textbf{1.00}" + r" \\"),
    ],
)
def test_papers_have_the_same_numbers(results, form, line):
    assert line in invoke("rank", results, "--format", form).stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["results/schedules", "--format", "html"],
            "--format must be one of table, csv, markdown, latex, got 'html'\n",
        ),
        (["results/training"], "results/training: holds no memory.csv; run an experiment that measures memory first\n"),
        (["results/depth_by_frequency"], "no budget to compare within"),
    ],
)
def test_what_cannot_be_ranked_is_one_line(arguments, line):
    result = invoke("rank", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(line)
