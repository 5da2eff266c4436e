"""The command line as a person meets it: exit codes, one clear line for a mistake, and runs that survive a kill."""

import csv
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.commands.command_line import app
from harness.execute.run import UNRECORDED
from harness.experiment.job import Job, Outcome
from harness.experiment.limits import SECONDS
from harness.provenance import ROOT
from harness.results.rows import rows_of
from harness.results.store import Store
from tests.support.cells import ENVIRONMENT, answer, store_all_cell

TEXT = """
title = "Tiny"
measure = ["memory"]
figures = ["predicted_vs_measured"]
[grid]
layers = ["8,4x3,3", "8,4x4,3"]
batch = [5]
checkpoint_frequency = [2, 3]
"""
CELLS = 6


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    return path


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def start(tmp_path):
    """Start the command line in a copy of the project, which nobody edits meanwhile."""
    for room in ("harness", "networks"):
        shutil.copytree(ROOT / room, tmp_path / "copy" / room)

    def start(*arguments):
        command = [sys.executable, "-m", "harness", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path / "copy", stdout=pipe, stderr=pipe, text=True)

    return start


@pytest.mark.parametrize("command", [[], ["run"], ["plot"], ["show"], ["list"], ["trace"], ["plan"]])
def test_help_tells_what_a_command_does_and_takes(command):
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert len(result.stdout.splitlines()) > 8


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "nowhere.toml"], "nowhere.toml: there is no such experiment file; there are experiments/"),
        (["run", "experiments/smok.toml"], "experiments/smok.toml: there is no such experiment file; did you mean exp"),
        (["show", "grwth"], "grwth: there is no such experiment file; did you mean experiments/growth.toml?\n"),
        (["show", "x" * 5000], "x" * 5000),
        (["show", "."], ".: cannot be read: Is a directory"),
        (["show", "LICENSE"], "LICENSE: is not TOML: "),
        (["plot", "nowhere"], "nowhere: there is no such folder of results; there are results/"),
        (["plot", "grwth"], "grwth: there is no such folder of results; did you mean results/growth?\n"),
        (["verify", "results/grwth"], "results/grwth: there is no such folder of results; did you mean results/growt"),
        (["compare", "growth", "nope"], "nope: there is no such folder of results; there are results/"),
        (["plot", "results"], "results: name one of results/cache_timeline, results/depth_by_frequency, results/gr"),
        (["peers", "growth"], "results/growth: holds no peers_memory.csv"),
        (
            ["flamegraph", "x", "--results", "grwth"],
            "grwth: there is no such folder of results; did you mean results/g",
        ),
        (["list", "nope"], "nope: there is no such folder; there are "),
        (["list", "LICENSE"], "LICENSE: is not a folder\n"),
        (["list", "harness"], "harness: holds no experiment (*.toml)"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, arguments, line):
    monkeypatch.chdir(ROOT)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(line)
    assert len(result.stderr.splitlines()) == 1


def test_a_results_folder_that_is_a_file_is_one_line(experiment):
    result = invoke("run", experiment, "--results", experiment)
    assert result.exit_code == 2
    said = f"{experiment}/tiny: cannot be written: Not a directory; choose another folder with --results\n"
    assert result.stderr == said


def test_show_predicts_every_cell_and_measures_none(experiment, monkeypatch):
    monkeypatch.chdir(experiment.parent)
    result = invoke("show", experiment)
    assert result.exit_code == 0
    assert "all cells: framework networks, batch 5, dtype float32, activation relu, seed 0" in result.stdout
    assert result.stdout.count("store-all") == 2
    assert result.stdout.count("recompute=segment") == 4
    assert f"memory: {CELLS} cells in {CELLS} processes" in result.stdout
    assert [path.name for path in experiment.parent.iterdir()] == ["tiny.toml"]


def test_list_names_every_experiment_of_a_folder(experiment):
    result = invoke("list", experiment.parent)
    assert result.exit_code == 0
    for word in ("tiny", "Tiny", str(CELLS), "memory"):
        assert word in result.stdout


def test_a_run_measures_draws_and_resumes(experiment, tmp_path):
    result = invoke("run", experiment, "--results", tmp_path / "results")
    assert (result.exit_code, f"{CELLS} cells, 0 failed, 0 measured earlier" in result.stdout) == (0, True)
    memory = (tmp_path / "results/tiny/memory.csv").read_bytes()
    result = invoke("run", experiment, "--results", tmp_path / "results")
    assert f"{CELLS} cells, 0 failed, {CELLS} measured earlier" in result.stdout
    assert (tmp_path / "results/tiny/memory.csv").read_bytes() == memory
    figures = []
    for _ in range(2):
        assert invoke("plot", tmp_path / "results/tiny").exit_code == 0
        figures.append({path.name: path.read_bytes() for path in (tmp_path / "results/tiny/figures").iterdir()})
    assert figures[0].keys() == {"predicted_vs_measured.svg", "predicted_vs_measured.png"}
    assert figures[0] == figures[1]
    one = ("--only", "predicted_vs_measured", "--format", "pdf,svg", "--width", "89mm", "--no-title", "--no-caption")
    result = invoke("plot", tmp_path / "results/tiny", *one)
    assert [Path(line).name for line in result.stdout.split()] == [
        "predicted_vs_measured.pdf",
        "predicted_vs_measured.svg",
    ]
    drawn = (tmp_path / "results/tiny/figures/predicted_vs_measured.svg").read_text()
    assert float(re.search(r'width="([\d.]+)pt"', drawn)[1]) == pytest.approx(89 / 25.4 * 72)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--only", "peaks"], "unknown figure 'peaks', there are: peak_by_depth, "),
        (["--format", "svg,gif"], "--format must be some of svg, png, pdf, with commas; got 'gif'\n"),
        (["--width", "89"], "--width must be from 64mm to 1000mm, in mm, cm or in, such as 89mm; got '89'\n"),
        (["--width", "2cm"], "--width must be from 64mm to 1000mm, in mm, cm or in, such as 89mm; got '2cm'\n"),
    ],
)
def test_what_plot_cannot_draw_is_one_line(arguments, line):
    result = invoke("plot", "results/growth", *arguments)
    assert (result.exit_code, result.stderr[: len(line)]) == (2, line)


def test_what_is_measured_again_is_named_with_the_reason_why(experiment, tmp_path):
    assert invoke("run", experiment, "--results", tmp_path).exit_code == 0
    for record in (tmp_path / "tiny/cells").glob("*.json"):
        record.unlink()
    said = invoke("run", experiment, "--results", tmp_path).stderr.splitlines()
    assert said[0] == f"{CELLS} cells are measured again: {UNRECORDED}"
    assert said[1].startswith("  memory of 8,4x3,3, batch 5, float32, store-all (")
    assert said[5] == "  .. and 2 more"


def test_a_cell_that_cannot_fit_is_skipped_or_by_force_fails_and_the_others_go_on(tmp_path):
    path = tmp_path / "huge.toml"
    path.write_text(TEXT.replace("batch = [5]", "batch = [5, 1_000_000_000_000]"))
    for options, status, said in (
        ([], "skipped_too_large", "but this machine has"),
        (["--force"], "out_of_memory", "Unable to"),
    ):
        result = invoke("run", path, "--results", tmp_path, *options)
        assert result.exit_code == 1
        assert f"{2 * CELLS} cells, {CELLS} failed" in result.stdout
        rows = list(csv.DictReader((tmp_path / "huge/memory.csv").read_text().splitlines()))
        assert [row["status"] for row in rows if row["status"] != "ok"] == [status] * CELLS
        shown = invoke("show", path, "--results", tmp_path).stdout
        assert f"finished: {CELLS} ok, {CELLS} {status}" in shown
        for row in rows:
            assert row["error"] in shown
            assert (said in row["error"]) == (row["memray_peak_bytes"] == "") == (row["status"] != "ok")
            assert int(row["predicted_peak_bytes"]) > int(row["forward_steps"]) > 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        *(
            (["--timeout", given], f"--timeout must be {SECONDS}, got {told}")
            for given, told in (("0", "0.0"), ("nan", "nan"), ("inf", "inf"), ("2073601", "2073601.0"))
        ),
        (["--memory-limit", "8388608TiB"], f"--memory-limit must be at most {2**63 - 1} bytes, got '8388608TiB'"),
        (["--memory-limit", "2 g"], "--memory-limit must be written as 2GB (of 1000) or 2GiB (of 1024), got '2 g'"),
        (["--memory-limit", "2 gig"], "--memory-limit must be written like 24MiB, 1.5GB or 65536 (bytes), got '2 gig'"),
    ],
)
def test_a_wrong_limit_is_one_line_and_exit_code_2(experiment, tmp_path, options, line):
    result = invoke("run", experiment, "--results", tmp_path, *options)
    assert (result.exit_code, result.stderr) == (2, f"{line}\n")


def test_a_framework_that_is_not_installed_is_one_line_before_anything_is_measured(tmp_path, monkeypatch):
    path = tmp_path / "other.toml"
    path.write_text(
        'title = "Other"\nmeasure = ["peers_memory"]\n'
        '[grid]\nlayers = ["6,5,3"]\nbatch = [4]\npeer = ["torch.store-all"]\n'
    )
    monkeypatch.setattr("harness.commands.run.are_installed", lambda packages: False)
    result = invoke("run", path, "--results", tmp_path)
    assert result.exit_code == 2
    assert "torch is not installed here; make peers makes an environment with it" in result.stderr
    assert not (tmp_path / "other").exists()


def test_a_folder_that_is_a_file_is_one_line_and_exit_code_2(experiment):
    result = invoke("show", experiment, "--results", experiment)
    assert result.exit_code == 2
    assert "Not a directory" in result.stderr


@pytest.mark.parametrize("name", ["...toml", "..toml", ".toml"])
def test_a_name_that_leads_out_of_the_folder_writes_and_removes_nothing(tmp_path, name):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text(TEXT)
    (tmp_path / "results" / "deep").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "results"):
        for mine in ("time.csv", "thesis.tmp"):
            (folder / mine).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    result = invoke("run", tmp_path / "in" / name, "--results", tmp_path / "results" / "deep")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_list_reads_over_hidden_files(experiment):
    (experiment.parent / ".#tiny.toml").write_text("an editor's")
    assert invoke("list", experiment.parent).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", ""],
        ["run", "{}", "--results", ""],
        ["show", "{}", "--results", ""],
        ["plot", ""],
        ["list", ""],
        ["compare", "", "results/growth"],
        ["compare", "results/growth", ""],
        ["verify", ""],
        ["peers", ""],
        ["flamegraph", "0", "--results", ""],
        ["flamegraph", "0", "--output", ""],
        ["trace", "--layers", "8,4,3", "--batch", "5", "--output", ""],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_not_the_folder_that_one_is_in(experiment, monkeypatch, arguments):
    monkeypatch.chdir(experiment.parent)
    result = invoke(*(argument.format(experiment) for argument in arguments))
    assert result.exit_code == 2
    assert result.stderr.endswith(": must not be empty; name a file or folder, such as . for this one\n")
    assert list(experiment.parent.iterdir()) == [experiment]


def test_a_folder_of_another_experiment_is_left_as_it_is_unless_it_is_to_be_replaced(experiment, tmp_path):
    folder = tmp_path / "results" / "tiny"
    job = Job(measure="memory", cells=(store_all_cell("64,32,10", batch=9),))
    told = ENVIRONMENT["experiment"] | {"title": "Another"}
    Store(folder).publish({"memory": rows_of(job, Outcome(answer(job)))}, ENVIRONMENT | {"experiment": told})
    before = {path: path.read_bytes() for path in folder.iterdir()}
    result = invoke("run", experiment, "--results", tmp_path / "results")
    said = (
        f"{folder}: holds the results of another experiment, 'Another', whose memory.csv would be lost; choose another "
        "folder with --results, or use --replace\n"
    )
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    result = invoke("run", experiment, "--results", tmp_path / "results", "--replace")
    assert (result.exit_code, f"{CELLS} cells, 0 failed" in result.stdout) == (0, True)


@pytest.mark.parametrize("name", ["--memory-limit", "limits.memory_limit"])
def test_a_memory_limit_needs_linux(experiment, tmp_path, monkeypatch, name):
    monkeypatch.setattr(sys, "platform", "darwin")
    if name == "limits.memory_limit":
        experiment.write_text(TEXT + '[limits]\nmemory_limit = "2GiB"\n')
    options = ["--memory-limit", "2GiB"] if name == "--memory-limit" else []
    result = invoke("run", experiment, "--results", tmp_path, *options)
    line = f"{name} of 2.00 GiB needs Linux, which bounds what another process reserves (prlimit); run without it\n"
    assert (result.exit_code, result.stderr) == (2, line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_happened(experiment, start, tmp_path, number):
    with start("run", experiment, "--results", tmp_path / "undisturbed") as undisturbed:
        undisturbed.communicate()
    assert undisturbed.returncode == 0
    cells = tmp_path / "results/tiny/cells"
    with start("run", experiment, "--results", tmp_path / "results") as stopped:
        deadline = time.monotonic() + 20
        while len(list(cells.glob("*.json"))) < 2:
            assert time.monotonic() < deadline, "waited 20 seconds in vain"
            time.sleep(0.01)
        stopped.send_signal(number)
        _, errors = stopped.communicate()
    assert stopped.returncode == 130
    assert "interrupted; what is finished is kept" in errors
    assert "Traceback" not in errors
    kept = len(list(cells.glob("*.json")))
    assert 2 <= kept < CELLS
    with start("run", experiment, "--results", tmp_path / "results") as resumed:
        output, _ = resumed.communicate()
    assert resumed.returncode == 0
    assert f"{CELLS} cells, 0 failed, {kept} measured earlier" in output
    memory = [tmp_path / folder / "tiny/memory.csv" for folder in ("undisturbed", "results")]
    assert memory[0].read_bytes() == memory[1].read_bytes()


@pytest.mark.parametrize("typed", ["smoke", "smoke.toml", "experiments/smoke.toml"])
def test_an_experiment_may_be_named(monkeypatch, typed):
    monkeypatch.chdir(ROOT)
    assert invoke("show", typed).stdout.startswith("Smoke: everything once, small\n")


def test_a_folder_of_results_may_be_named_and_a_folder_that_is_there_goes_before(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    named, written = (invoke("compare", folder, "growth", "--json").stdout for folder in ("growth", "results/growth"))
    assert named == written
    monkeypatch.chdir(tmp_path)
    (tmp_path / "growth").mkdir()
    (tmp_path / "results/growth").mkdir(parents=True)
    assert invoke("plot", "growth").stderr.startswith("growth/environment.json: cannot be read")


def test_an_experiment_without_results_says_how_to_run_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/tiny.toml").write_text(TEXT)
    line = "tiny: there is no such folder of results; python -m harness run experiments/tiny.toml makes it\n"
    assert invoke("plot", "tiny").stderr == line
