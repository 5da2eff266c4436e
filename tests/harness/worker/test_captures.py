"""Captures that cannot be written to their end: each is refused with its reason, and never read as a shorter step."""

import csv
import json
import re
import subprocess
import sys
import tempfile

import pytest
from typer.testing import CliRunner

from harness.commands.command_line import app
from harness.execute.process import run_in_subprocess
from harness.experiment.job import Job
from harness.experiment.measures import MEASURES
from harness.provenance import ROOT
from tests.support.cells import store_all_cell
from tests.support.limits import no_file_larger_than

CELL = store_all_cell("64,128x6,10", batch=512)
ROOM = 64 * 1024  # a capture of the cell's step takes about half of it
CUT_SHORT = re.compile(r"RuntimeError: memray's capture is cut short: TMPDIR (\S+) has ([\d,]+) bytes free\b.*")

EXPERIMENT = """
title = "Tiny"
measure = ["memory"]
[grid]
layers = ["64,128x6,10"]
batch = [512]
schedule = ["sqrt()"]
"""

EVERY_LIMIT = """
import json, os, resource, sys
from pathlib import Path
from tests.support.cells import store_all_cell
from harness.worker import probes
from harness.worker.steps.networks import NetworkStep

cell = store_all_cell(sys.argv[1], batch=512)
step = NetworkStep(cell)
step.warm_up()
events = len(step.network.tracker.timeline)

def marked():
    marks = probes.Marks()
    step.network.observer = marks.leave
    try:
        peak, stretches = probes.memory_at_marks(step, marks, events)
    finally:
        step.network.observer = None
    return [peak["memray_peak_bytes"] >= step.network.tracker.peak_bytes, len(stretches) - events]

def peak():
    return probes.peak_memory(step)["memray_peak_bytes"] >= step.network.tracker.peak_bytes

def blocks():
    return probes.blocks_at_peak(step, nbytes=cell.hidden_bytes)

def captured():
    probes.capture(step, Path(os.environ["TMPDIR"]) / "kept.bin")

for limit in range(4096, int(sys.argv[2]) + 1, 4096):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    answers = []
    for ask in (marked, peak, blocks, captured):
        try:
            answers.append(ask())
        except RuntimeError as error:
            answers.append(str(error))
    print(json.dumps(answers))
"""


@pytest.fixture
def small_folder(tmp_path, monkeypatch):
    """Make the folder of temporary files one of so many bytes."""
    mounted = []

    def mount(nbytes):
        command = ["mount", "-t", "tmpfs", "-o", f"size={nbytes}", "tmpfs", str(tmp_path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command here")
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        return tmp_path

    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


def job(measure, path):
    """A job of the cell, whose capture, where it keeps one, goes to `path`."""
    return Job(measure=measure, cells=(CELL,), settings={"path": str(path)} if measure == "capture" else {})


def refused(outcome):
    """The folder and the free bytes that the outcome names as its reason."""
    assert (outcome.rows, outcome.status) == (None, "failed"), outcome
    told = CUT_SHORT.fullmatch(outcome.error)
    assert told, outcome.error
    return told[1], int(told[2].replace(",", ""))


def test_wherever_a_capture_is_cut_it_is_refused_or_tells_of_the_whole_step(tmp_path):
    """A capture grows by pages, so that limits a page apart cut it at every length that it can have."""
    command = [sys.executable, "-c", EVERY_LIMIT, CELL.layers, str(ROOM)]
    environment = {**MEASURES["memory"].variables, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    limited = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(limited) == ROOM / 4096
    for answers, whole in zip(zip(*limited, strict=True), ([True, 0], True, CELL.depth - 1, None), strict=True):
        cut = [answer for answer in answers if answer != whole]
        assert whole not in answers[:4]
        assert answers[-1] == whole  # between them memray's samples of resident memory, taken by time, move the border
        assert all(CUT_SHORT.fullmatch(f"RuntimeError: {line}")[1] == str(tmp_path) for line in cut)


@pytest.mark.parametrize("nbytes", [0, 4096, ROOM // 4])
@pytest.mark.parametrize("measure", ["memory", "timeline", "peers_memory", "capture"])
def test_a_file_size_limit_fails_the_cell_and_is_named(tmp_path, measure, nbytes):
    asked = job(measure, tmp_path / "capture.bin")
    with no_file_larger_than(nbytes):
        outcome = run_in_subprocess(asked)
    refused(outcome)
    assert f"no file may be larger than {nbytes:,} bytes (ulimit -f)" in outcome.error


@pytest.mark.parametrize("nbytes", [4096, 24 * 1024])
@pytest.mark.parametrize("measure", ["memory", "timeline", "peers_memory", "capture"])
def test_a_full_temporary_folder_fails_the_cell_and_is_named_with_its_free_bytes(small_folder, measure, nbytes):
    folder = small_folder(nbytes)
    named, free = refused(run_in_subprocess(job(measure, folder / "capture.bin")))
    assert named.startswith(str(folder))
    assert free < nbytes


def test_a_temporary_folder_with_room_fails_nothing(small_folder):
    small_folder(4 * ROOM)
    for measure in ("memory", "timeline", "peers_memory"):
        assert run_in_subprocess(job(measure, None)).error == ""


def test_resident_peaks_need_no_temporary_folder():
    asked = Job(measure="resident", cells=(CELL,), settings={"allocator": "glibc", "repeats": 1})
    with no_file_larger_than(0):
        assert run_in_subprocess(asked).error == ""


def test_a_run_publishes_no_peak_of_a_capture_that_was_cut(tmp_path):
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    with no_file_larger_than(ROOM // 4):
        result = CliRunner().invoke(app, ["run", str(tmp_path / "tiny.toml"), "--results", str(tmp_path)])
    assert result.exit_code == 1
    rows = list(csv.DictReader((tmp_path / "tiny" / "memory.csv").read_text().splitlines()))
    assert {(row["status"], row["memray_peak_bytes"]) for row in rows} == {("failed", "")}
    assert all(CUT_SHORT.fullmatch(row["error"]) for row in rows)


def test_no_flame_graph_is_drawn_of_a_capture_that_was_cut(tmp_path):
    (tmp_path / "tiny.toml").write_text(EXPERIMENT)
    assert CliRunner().invoke(app, ["run", str(tmp_path / "tiny.toml"), "--results", str(tmp_path)]).exit_code == 0
    page = tmp_path / "page.html"
    with no_file_larger_than(ROOM // 4):
        result = CliRunner().invoke(
            app, ["flamegraph", CELL.cell_id, "--results", str(tmp_path), "--output", str(page)]
        )
    assert (result.exit_code, result.stdout, page.exists()) == (2, "", False)
    (line,) = result.stderr.splitlines()
    assert CUT_SHORT.fullmatch(line.removeprefix("the cell cannot be measured: "))
