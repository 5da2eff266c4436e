"""What runs of the tests came to, summed up from what pytest itself writes of them."""

import ast
import os
import re
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
NEEDS_A_BROWSER_TOO = """
import pytest
pytest.importorskip("{package}")
pytestmark = pytest.mark.skipif(True, reason="no browser")
def test_draws(): pass
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, Path]:
    """What pytest writes of these tests where they need a package that is nowhere installed, and one that is."""
    folder = tmp_path_factory.mktemp("tests")
    files = {}
    for package in ("nowhere_installed", "json"):
        (folder / "test_each.py").write_text(TESTS.format(package=package))
        (folder / "test_whole.py").write_text(NEEDS_IT_AS_A_WHOLE.format(package=package))
        files[package] = run_tests(folder, f"{package}.xml")
    return files


def run_tests(folder: Path, name: str) -> Path:
    """What pytest writes of the tests in a folder."""
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={folder / name}"]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    return folder / name


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


@pytest.mark.parametrize(("packages", "code"), [(["json", "nowhere_installed"], 0), (["nowhere_installed"], 1)])
def test_a_missing_browser_is_no_error_where_the_package_is_installed(tmp_path, capsys, packages, code):
    for package in packages:
        (tmp_path / "test_drawn.py").write_text(NEEDS_A_BROWSER_TOO.format(package=package))
        run_tests(tmp_path, f"{package}.xml")
    got, (skipped, _) = told(tmp_path, capsys)
    assert got == code
    assert ("could not import" if code else "no browser") in skipped


def test_every_test_that_needs_a_package_is_skipped_in_the_words_that_are_an_error():
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.importorskip":
                assert [*node.args[1:], *node.keywords] == [], f"{path}:{node.lineno} has words of its own"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.skipif":
                assert not re.search(r"find_spec\(.*\) is None", ast.unparse(node)), f"{path}:{node.lineno}"


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
