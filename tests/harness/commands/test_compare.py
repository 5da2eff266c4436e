"""Two results folders against each other, and the gates on what has changed."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from harness.analysis.folders import holm, memory_differences, time_differences
from harness.commands.command_line import app
from harness.commands.compare import _slowness
from harness.commands.console import label
from harness.experiment.job import Job, Outcome
from harness.provenance import ROOT
from harness.results.rows import rows_of
from harness.results.store import Store
from tests.support.cells import ENVIRONMENT, answer, memory_row, publish_as_they_are, store_all_cell

STORE_ALL = store_all_cell("64,128x3,10", batch=64)
CELLS = [STORE_ALL, *(replace(STORE_ALL, seed=seed) for seed in (1, 2))]


def write(
    folder: Path,
    *,
    grows: int = 0,
    slower: float = 1.0,
    cells=CELLS,
    killed=(),
    environment=ENVIRONMENT,
    measures=("memory", "time"),
) -> Path:
    """Results in which the first cell takes `grows` bytes more, and all steps `slower` times as long."""
    memory = {cell: memory_row(cell) for cell in cells}
    for name in ("memray_peak_bytes", "memray_forward_peak_bytes", "memray_backward_peak_bytes", "memray_other_bytes"):
        memory[cells[0]][name] += grows
    seconds = np.random.default_rng(3).lognormal(mean=-4, sigma=0.02, size=(len(cells), 20)) * slower
    (timed,) = answer(Job(measure="time", cells=cells[:1]))
    times = [
        [
            timed[0] | {"repeat": i, "forward_seconds": t, "backward_seconds": t, "step_seconds": 2 * t}
            for i, t in enumerate(one)
        ]
        for one in seconds.tolist()
    ]
    outcomes = {
        cell: Outcome(None, "out of luck", fault="killed") if cell in killed else Outcome([[row]])
        for cell, row in memory.items()
    }
    rows = {
        "memory": [
            row for cell, outcome in outcomes.items() for row in rows_of(Job(measure="memory", cells=(cell,)), outcome)
        ],
        "time": rows_of(Job(measure="time", cells=tuple(cells)), Outcome(times)),
    }
    Store(folder).publish({measure: rows[measure] for measure in measures}, environment)
    return folder


def compare(*arguments: object):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture
def a(tmp_path) -> Path:
    return write(tmp_path / "a")


def test_equal_results_pass_every_gate(a, tmp_path):
    result = compare(a, write(tmp_path / "b"), "--fail-if-memory-grows", "--fail-if-slower", 1.05)
    assert result.exit_code == 0, result.output
    assert "memory: 3 of 3 cells equal to the byte" in result.stdout
    assert "of 3 cells 0 significantly slower in B, 0 faster" in result.stdout
    assert "warning" not in result.stdout


def test_a_byte_more_fails_the_memory_gate_and_only_that(a, tmp_path):
    b = write(tmp_path / "b", grows=1)
    result = compare(a, b, "--fail-if-memory-grows")
    assert result.exit_code == 1
    assert f"failed: {label(STORE_ALL)}: the peak grows by 1 bytes" in result.stdout
    assert compare(a, b, "--fail-if-slower", 1.05).exit_code == 0
    assert compare(b, a, "--fail-if-memory-grows").exit_code == 0


def test_slower_steps_fail_the_time_gate_beyond_its_ratio(a, tmp_path):
    b = write(tmp_path / "b", slower=1.1)
    result = compare(a, b, "--fail-if-slower", 1.05)
    assert result.exit_code == 1
    assert result.stdout.count("failed: ") == 3
    assert "3 significantly slower in B" in result.stdout
    assert compare(a, b, "--fail-if-slower", 1.2).exit_code == 0
    assert compare(a, b).exit_code == 0
    assert compare(b, a, "--fail-if-slower", 1.0).exit_code == 0


def test_json_holds_every_cell_and_what_failed(a, tmp_path):
    result = compare(a, write(tmp_path / "b", grows=5, cells=CELLS[:2]), "--json", "--fail-if-memory-grows")
    assert result.exit_code == 1
    answered = json.loads(result.stdout)
    assert [row["difference_bytes"] for row in answered["memory"]["cells"]] == [5, 0]
    assert [row["time_ratio"] for row in answered["time"]["cells"]] == pytest.approx([1, 1])
    assert answered["memory"]["only_in_a"] == answered["time"]["only_in_a"] == [CELLS[2].cell_id]
    assert answered["memory"]["missing_in_b"] == answered["time"]["missing_in_b"] == [label(CELLS[2])]
    assert answered["failures"] == [
        f"{label(STORE_ALL)}: the peak grows by 5 bytes",
        f"{label(CELLS[2])}: is missing in B's memory",
    ]


def test_what_was_not_measured_alike_is_a_warning(a, tmp_path):
    other = ENVIRONMENT | {"machine": {"python": "3.12.1", "blas": [{"num_threads": 2}]}}
    result = compare(a, write(tmp_path / "b", environment=other))
    assert result.stdout.splitlines()[:2] == [
        "warning: not measured alike: machine.python: 3.11.7 -> 3.12.1",
        "warning: not measured alike: machine.blas.0.num_threads: 1 -> 2",
    ]


def test_a_measure_that_one_folder_alone_has_is_no_difference_of_the_others(a, tmp_path):
    more = ENVIRONMENT["variables"] | {"training": {"PYTHONHASHSEED": "0"}}
    result = compare(a, write(tmp_path / "b", environment=ENVIRONMENT | {"variables": more}))
    assert "not measured alike" not in result.stdout


def test_a_single_time_tells_nothing_of_how_sure_it_is():
    tables = [pd.DataFrame({"cell_id": ["x"], "status": ["ok"], "epoch_seconds": [t]}) for t in (2.0, 3.0)]
    (row,) = time_differences(*tables, seconds="epoch_seconds").to_dict("records")
    assert (row["time_ratio"], row["ratio_low"], row["ratio_high"], row["p_value"]) == (1.5, 1.5, 1.5, 1)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--fail-if-slower", "0"], "--fail-if-slower must be a ratio above 0, such as 1.05, got 0.0"),
        (["--fail-if-slower", "nan"], "--fail-if-slower must be a ratio above 0, such as 1.05, got nan"),
    ],
)
def test_a_wrong_option_is_one_line(a, options, line):
    result = compare(a, a, *options)
    assert (result.exit_code, result.stderr) == (2, f"{line}\n")


def test_a_folder_without_results_is_one_line(a, tmp_path):
    result = compare(a, tmp_path / "nowhere")
    assert result.exit_code == 2
    assert result.stderr == (f"{tmp_path}/nowhere: there is no such folder of results; there are {a}\n")


def test_a_gate_needs_cells_to_compare(a, tmp_path):
    write(a, measures=["memory"])
    result = compare(a, a, "--fail-if-slower", 1.05)
    line = (
        "--fail-if-slower has nothing to compare: no cell is finished in both folders' time or peers_time or training "
        "or models_time; leave it out\n"
    )
    assert (result.exit_code, result.stderr) == (2, line)
    b = write(tmp_path / "b", cells=[replace(STORE_ALL, seed=9)])
    assert compare(a, b).exit_code == 0
    assert compare(a, b, "--fail-if-memory-grows").exit_code == 2


def test_a_cell_that_fails_in_b_fails_the_gate(a, tmp_path):
    b = write(tmp_path / "b", killed=CELLS[:1])
    result = compare(a, b, "--fail-if-memory-grows")
    assert result.exit_code == 1
    assert f"failed: {label(STORE_ALL)}: has failed in B" in result.stdout
    assert compare(a, b, "--fail-if-slower", 1.05).exit_code == 0
    assert compare(b, a, "--fail-if-memory-grows").exit_code == 0


def test_a_cell_that_is_missing_in_b_fails_every_gate(a, tmp_path):
    b = write(tmp_path / "b", cells=CELLS[:2])
    assert compare(a, b).exit_code == 0
    for options, tables in [
        (["--fail-if-memory-grows"], ["memory"]),
        (["--fail-if-slower", 1.5], ["time"]),
        (["--fail-if-cells-missing"], ["memory", "time"]),
        (["--fail-if-cells-missing", "--fail-if-memory-grows"], ["memory", "time"]),
    ]:
        result = compare(a, b, *options)
        assert result.exit_code == 1
        failed = [line for line in result.stdout.splitlines() if line.startswith("failed: ")]
        assert failed == [f"failed: {label(CELLS[2])}: is missing in B's {table}" for table in tables]
    assert compare(b, a, "--fail-if-cells-missing", "--fail-if-memory-grows", "--fail-if-slower", 1.5).exit_code == 0


def test_a_table_that_b_has_not_is_all_of_its_cells_missing(a, tmp_path):
    b = write(tmp_path / "b", measures=["memory"])
    result = compare(a, b, "--fail-if-cells-missing")
    assert result.exit_code == 1
    assert result.stdout.count("is missing in B's time") == len(CELLS)
    assert compare(a, b, "--fail-if-memory-grows").exit_code == 0
    assert compare(b, a, "--fail-if-cells-missing").exit_code == 0
    assert f"time: finished in B alone: {CELLS[0].cell_id}" in compare(b, a).stdout


def test_no_table_in_common_is_one_line(a, tmp_path):
    write(a, measures=["memory"])
    result = compare(a, write(tmp_path / "b", measures=["time"]))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("nothing to compare: the folders have none of memory, ")


def test_two_experiments_are_not_compared(a, tmp_path):
    b = write(tmp_path / "b", environment=ENVIRONMENT | {"experiment": ENVIRONMENT["experiment"] | {"name": "other"}})
    line = f"{a} and {b}: are of two experiments, tiny and other; compare two results of the same one\n"
    for options in ([], ["--fail-if-memory-grows"]):
        result = compare(a, b, *options)
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", line)


def test_times_that_are_no_numbers_pass_no_gate(a, tmp_path):
    b = write(tmp_path / "b")
    lines = (b / "time.csv").read_text().splitlines()
    lines[1] = lines[1].replace(lines[1].split(",")[-2], "nan")
    (b / "time.csv").write_text("\n".join([*lines, ""]))
    publish_as_they_are(b)
    result = compare(a, b, "--fail-if-slower", 1.5)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"{b}/time.csv: line 2, column step_seconds: must be a number, got nan\n"


@pytest.mark.parametrize("number", ["time_ratio", "p_value"])
def test_a_ratio_that_is_no_number_is_not_within_the_limit(number):
    row = {"time_ratio": 2.0, "p_value": 0.0} | {number: float("nan")}
    assert _slowness(row, limit=1.5)


@pytest.mark.parametrize(("folder", "table"), [("peers", "peers_memory"), ("training", "training")])
def test_frameworks_and_trainings_are_compared_as_well(folder, table):
    result = compare(ROOT / "results" / folder, ROOT / "results" / folder, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)[table]["cells"]
    with (ROOT / "results" / folder / f"{table}.csv").open() as file:
        assert {row["cell_id"] for row in rows} == {
            row["cell_id"] for row in csv.DictReader(file) if row["status"] == "ok"
        }
    assert all(row["cell"].endswith(f"({row['cell_id']})") for row in rows)


def test_holm_controls_the_family_as_by_hand():
    # Sorted 0.01, 0.02, 0.02, 0.5 times 4, 3, 2, 1: 0.04, 0.06, 0.04 -> 0.06, 0.5.
    assert holm(np.array([0.02, 0.5, 0.01, 0.02])) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]
    assert holm(np.array([])).tolist() == []


def table(seconds: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"cell_id": str(cell), "status": "ok", "step_seconds": value}
            for cell, values in enumerate(seconds)
            for value in values
        ]
    )


def test_equal_cells_are_rarely_called_different():
    """Of a hundred comparisons of ten cells each, at most ten find any of them changed: the corrected level is 5 %."""
    generator = np.random.default_rng(23)
    false = 0
    for _ in range(100):
        p_values = [stats.mannwhitneyu(*generator.lognormal(sigma=0.1, size=(2, 15))).pvalue for _ in range(10)]
        false += holm(np.array(p_values)).min() < 0.05
    assert false <= 10


def test_the_interval_of_a_ratio_holds_the_truth():
    generator = np.random.default_rng(29)
    before = generator.lognormal(sigma=0.05, size=(40, 15))
    after = 1.2 * generator.lognormal(sigma=0.05, size=(40, 15))
    ratios = time_differences(table(before), table(after), seconds="step_seconds")
    assert ((ratios["ratio_low"] <= 1.2) & (ratios["ratio_high"] >= 1.2)).sum() >= 36
    assert (ratios["p_value"] < 0.05).all()


def test_a_cell_that_failed_in_one_is_compared_in_neither():
    peaks = [
        pd.DataFrame({"cell_id": ["x", "y"], "status": ["ok", s], "memray_peak_bytes": [7, 8]})
        for s in ("ok", "failed")
    ]
    assert memory_differences(*peaks, peak="memray_peak_bytes")["cell_id"].tolist() == ["x"]
