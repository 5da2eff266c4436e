"""What runs of the tests came to, summed up from what pytest itself writes of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.provenance import ROOT
from tests.support import tally

TESTS = """
import pytest

@pytest.fixture
def torn():
    yield
    raise RuntimeError

def test_passes(): pass
def test_fails(torn): assert False
@pytest.mark.parametrize("case", ["a", "b"])
def test_needs(case): pytest.importorskip("{package}")
def test_skips(): pytest.skip("no reason")
"""
NEEDS_IT_AS_A_WHOLE = """
import pytest
pytest.importorskip("{package}")
def test_passes(): pass
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Path]:
    """What pytest writes of these tests where they need a package that is nowhere installed, and one that is."""
    folder = tmp_path_factory.mktemp("tests")
    files = {}
    for package in ("nowhere_installed", "json"):
        (folder / "test_each.py").write_text(TESTS.format(package=package))
        (folder / "test_whole.py").write_text(NEEDS_IT_AS_A_WHOLE.format(package=package))
        files[package] = folder / f"{package}.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={files[package]}"]
        environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    return files


def told(folder: Path, capsys: pytest.CaptureFixture, *files: Path) -> tuple[int, list[str]]:
    """The exit code and the lines for these files."""
    for file in files:
        shutil.copy(file, folder)
    code = tally.main(str(folder))
    return code, capsys.readouterr().out.splitlines()


def test_the_last_line_sums_up_all_runs(outcomes, tmp_path, capsys):
    code, lines = told(tmp_path, capsys, *outcomes.values())
    assert code == 1
    (skipped, last) = lines
    assert (
        last == "5 passed, 4 failed, 5 skipped"
    )  # what fails and cannot be torn down has failed twice, as pytest says
    assert skipped.startswith("skipped everywhere: test_each.test_skips: ")
    assert skipped.endswith(": no reason")


def test_a_test_whose_package_no_environment_has_is_an_error(outcomes, tmp_path, capsys):
    _, lines = told(tmp_path, capsys, outcomes["nowhere_installed"])
    told_of = [line.split(": ")[1] for line in lines if "could not import 'nowhere_installed'" in line]
    assert sorted(told_of) == ["test_each.test_needs[a]", "test_each.test_needs[b]", "test_whole"]


@pytest.mark.parametrize(("reason", "code"), [("no mount here", 0), ("could not import 'x': No module named 'x'", 1)])
def test_a_skip_fails_only_for_want_of_a_package(tmp_path, capsys, reason, code):
    case = f'<testcase classname="tests.test_it" name="test_it"><skipped>{reason}</skipped></testcase>'
    (tmp_path / "test.xml").write_text(f"<testsuite>{case}</testsuite>")
    assert told(tmp_path, capsys) == (
        code,
        [f"skipped everywhere: tests.test_it.test_it: {reason}", "0 passed, 0 failed, 1 skipped"],
    )


def test_where_no_test_ran_there_is_a_line_all_the_same(tmp_path, capsys):
    assert told(tmp_path, capsys) == (0, ["0 passed, 0 failed, 0 skipped"])


def test_the_line_is_the_last_of_all_that_ci_prints_also_where_it_fails(tmp_path):
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/run").write_text((ROOT / ".ci/run").read_text())
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "Makefile").write_text("lint:\n\t@echo linted\ntypes:\n\t@exit 3\n")
    done = subprocess.run(["bash", ".ci/run"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1] == "0 passed, 0 failed, 0 skipped"
