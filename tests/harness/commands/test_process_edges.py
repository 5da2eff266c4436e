"""The edges of the process: closed and full streams, narrow terminals, hostile text, the caller's environment."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.commands import console
from harness.execute.process import run_in_subprocess
from harness.experiment.file import Experiment
from harness.experiment.job import Job
from harness.provenance import ROOT
from networks.wording import visible
from tests.support.cells import store_all_cell

TEXT = """
title = "Tiny → small"
measure = ["memory"]
[grid]
layers = ["8,4x3,3"]
batch = [5]
checkpoint_frequency = [2]
"""
CELL = store_all_cell("8,4x3,3", batch=5)
NARROW = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(TEXT)
    return path


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a shell's command line, in which `harness` is this project's."""
    harness = f'harness() {{ {sys.executable} -m harness "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", harness + command], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("harness list >&-", 2, "standard output is closed; send it to a file, or to /dev/null\n"),
        ("harness list >/dev/full", 2, "standard output: No space left on device\n"),
        ("harness show {} >/dev/full", 2, "standard output: No space left on device\n"),
        ("harness --help >/dev/full", 2, "standard output: No space left on device\n"),
        ("harness plan --layers 8,8,3 --batch 4 --budget 1MiB --json >/dev/full", 2, "standard output: No space"),
        ("harness show nowhere.toml 2>/dev/full", 2, ""),
        ("harness show nowhere.toml 2>&-", 2, ""),
        ("harness list <&- >/dev/null", 0, ""),
    ],
)
def test_a_stream_that_is_closed_or_full_is_one_line(experiment, command, code, said):
    done = shell(command.format(experiment))
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == bool(said)


def test_a_reader_that_has_seen_enough_is_no_fault(experiment):
    lines = "\n".join(f'    "8,{width}x3,3",' for width in range(1, 700))  # more than a pipe holds
    experiment.write_text(TEXT.replace('"8,4x3,3"', lines))
    done = shell(f"harness show {experiment} | head -n 1; echo ${{PIPESTATUS[0]}}")
    assert (done.stdout, done.stderr) == ("Tiny → small\n1\n", "")


@pytest.mark.parametrize("variables", NARROW, ids=lambda variables: next(iter(variables.values())))
def test_a_terminal_that_knows_few_characters_is_shown_others(experiment, variables):
    commands = f"harness show {experiment}; harness list {experiment.parent}; harness run nowhere.→; harness trace"
    commands += f" --layers 8,4x5,3 --batch 4 --output {experiment.parent}/trace.svg"
    done = shell(commands, **variables)
    assert done.stdout.startswith("Tiny -> small\n")
    assert "| tiny" in done.stdout  # the table's frame
    assert "= run forward  o held when the sweep ends  < backward" in done.stdout
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    assert re.match(r"nowhere\.[->?]+: there is no such experiment file; there are experiments/", done.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, wide 深, accented é\nand so on", "plain, wide 深, accented é\nand so on"),
        ("\x1b[31mred\x07\r\x00", "�[31mred���"),
        ("\x7f\x9b2J", "��2J"),
        ("\u202egpj.\u2028\udcff", "�gpj.��"),
    ],
)
def test_what_is_not_seen_is_replaced(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_no_text_reaches_the_terminal_as_an_escape(capsys):
    for stderr in (False, True):
        console.new_console(stderr=stderr).print("\x1b[2Jgone", "\x9b31m")
    console.new_console().out("\x1b]0;title\x07")  # rich leaves bells out
    assert capsys.readouterr() == ("�[2Jgone �31m\n�]0;title\n", "�[2Jgone �31m\n")


def test_names_of_files_and_keys_reach_the_terminal_without_escapes(tmp_path):
    named, keyed = tmp_path / "\x1b[31mred.toml", tmp_path / "keyed.toml"
    named.write_text(TEXT)
    keyed.write_text(TEXT + '["\\u001b[2J"]\nkey = 1\n')
    for arguments, shown in (
        (["show", named], "'\\x1b[31mred.toml'"),
        (["list", tmp_path], "'\\x1b[31mred.toml'"),
        (["show", keyed], "'\\x1b[2J': is not a key here"),
        (["plot", tmp_path / "\x1b[2J"], "�[2J"),
    ):
        done = subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert "\x1b" not in done.stdout + done.stderr
        assert shown in done.stderr


@pytest.mark.parametrize("title", ["\\u001b[31mred", "two\\nlines", "\\u202eleft"])
def test_a_title_is_one_line_without_control_characters(experiment, title):
    experiment.write_text(TEXT.replace("Tiny → small", title))
    with pytest.raises(ValueError, match="title: must be one line without control characters, got '") as caught:
        Experiment.load(experiment)
    assert str(caught.value).isprintable()


def test_figures_are_the_same_whatever_the_callers_matplotlib_is(experiment, tmp_path):
    experiment.write_text('figures = ["peak_by_depth", "predicted_vs_measured"]' + TEXT)
    strange = tmp_path / "matplotlibrc"
    strange.write_text(
        "text.usetex: True\nfont.size: 30\naxes.facecolor: black\nsavefig.transparent: True\nsavefig.bbox: tight\n"
        "svg.fonttype: none\nlines.antialiased: False\npath.sketch: 1, 100, 2\n"
    )
    assert shell(f"harness run {experiment} --results {tmp_path}").returncode == 0
    trace = f"harness trace --layers 8,4x5,3 --batch 4 --output {tmp_path}/tiny/figures/trace.png"
    surroundings = [
        {},
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "no such backend", "MATPLOTLIBRC": str(strange)},
    ]
    drawn = []
    for variables in surroundings:
        done = shell(f"harness plot {tmp_path}/tiny && {trace}", **variables)
        assert (done.returncode, done.stderr) == (0, "")
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / "tiny/figures").iterdir()})
    assert len(drawn[0]) == 5
    assert drawn[0] == drawn[1] == drawn[2]


def test_without_a_home_everything_is_as_with_one(experiment, tmp_path):
    tables = []
    for home in ("unset HOME", "export HOME=/nonexistent", "true"):
        done = shell(f"{home}; harness run {experiment} --results {tmp_path}/results")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
        tables.append((tmp_path / "results/tiny/memory.csv").read_bytes())
        for record in (tmp_path / "results/tiny/cells").glob("*.json"):
            record.unlink()
    assert tables[0] == tables[1] == tables[2]


def test_a_git_that_cannot_be_executed_costs_no_finished_run_its_tables(experiment, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").touch(mode=0o644)
    done = shell(f'PATH="{tmp_path}/bin"; harness run {experiment} --results {tmp_path}')
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "Tiny → small: 2 cells, 0 failed, 0 measured earlier")
    told = json.loads((tmp_path / "tiny/environment.json").read_text())["code"]
    assert told["commit"] is None
    assert told["commit_unknown"] == "git cannot be run: Permission denied"


def test_a_worker_finds_the_packages_that_its_caller_finds(tmp_path, monkeypatch):
    """On a relative path, though its folder is another; and beneath the caller's home, though it has none."""
    (tmp_path / "some").mkdir()
    (tmp_path / "some/where.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{os.pathsep}some")
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "user"))
    monkeypatch.setattr("site.USER_BASE", None)
    monkeypatch.setattr("site.ENABLE_USER_SITE", True)
    code = "import json, os, sys, where; print(json.dumps([os.environ[name] for name in NAMES]), file=sys.stderr)"
    code = code.replace("NAMES", "('PYTHONPATH', 'PYTHONUSERBASE')")
    outcome = run_in_subprocess(Job(measure="memory", cells=(CELL,)), (sys.executable, "-c", code))
    assert json.loads(outcome.log) == [str(tmp_path / "some"), str(tmp_path / "user")]


def test_what_a_worker_measures_does_not_depend_on_where_packages_are(tmp_path, monkeypatch):
    job = Job(measure="memory", cells=(CELL,))
    plain = run_in_subprocess(job)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(tmp_path / f"folder-{number}") for number in range(40)))
    assert run_in_subprocess(job).rows == plain.rows != None  # noqa: E711
