"""The Makefile: which folder its targets write to and read, and what they say before they replace results."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from harness.provenance import ROOT
from tests.test_imports import imported

MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")

INTERPRETER = """#!/bin/sh
echo "$@"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile and the experiments, with environments in which Python only tells its arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "requirements-lowest.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    version = "{}.{}".format(*sys.version_info[:2])
    for environment in (".venv", ".venv-peers", ".venv-lowest"):
        (tmp_path / environment / "bin").mkdir(parents=True)
        (tmp_path / environment / "bin/python").write_text(INTERPRETER)
        (tmp_path / environment / "bin/python").chmod(0o755)
        (tmp_path / environment / f"ready-{version}").touch()
    return tmp_path


def make(project: Path, *arguments: str) -> list[str]:
    """The lines that a target prints; those of Python are its arguments."""
    command = [MAKE, "--silent", "--no-print-directory", f"PYTHON={sys.executable}", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def publish(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("environment.json", "memory.csv"):
        (folder / name).touch()


@pytest.mark.parametrize(("target", "name"), [("experiments", "growth"), ("peers", "peers_compiled")])
def test_results_that_will_be_replaced_are_named_before_anything_is_measured(project, target, name):
    lines = make(project, target)
    assert lines[0].startswith("-m harness run")
    publish(project / "results" / name)
    first, *others = make(project, target)
    said = "Results in results/ are replaced as soon as their experiment is complete. RESULTS=folder keeps them."
    assert (first, sorted(others)) == (said, sorted(lines))


@pytest.mark.parametrize("folder", ["results", "elsewhere/my results"])
@pytest.mark.parametrize("target", ["experiments", "peers", "smoke"])
def test_what_is_measured_goes_to_the_chosen_folder_and_is_drawn_there(project, target, folder):
    lines = make(project, target, *([] if folder == "results" else [f"RESULTS={folder}"]))
    runs = [line for line in lines if " run " in line]
    assert runs
    for line in runs:
        assert f"--results {folder} " in line
        name = Path(line.split()[-1]).stem
        assert f"-m harness plot {folder}/{name}" in lines
    assert (f"-m harness peers {folder}/peers" in lines) == (target == "peers")


@pytest.mark.parametrize("folder", ["results", "my results"])
@pytest.mark.parametrize("target", ["plots", "verify"])
def test_what_is_drawn_and_verified_lies_in_the_chosen_folder(project, target, folder):
    publish(project / folder / "growth")
    publish(project / "others/growth")
    command, rest = ("plot", "") if target == "plots" else ("verify", " --cells 8")
    assert make(project, target, f"RESULTS={folder}") == [f"-m harness {command} {folder}/growth{rest}"]


def test_help_names_the_folder(project):
    assert any(line.startswith("  RESULTS=folder ") for line in make(project))


NEW_ENVIRONMENT = f"""#!/bin/sh
if [ "$1" != -m ]; then exec {sys.executable} "$@"; fi
mkdir -p "$3/bin"
printf '#!/bin/sh\\necho "$@"\\n' >"$3/bin/pip"
chmod +x "$3/bin/pip"
"""


@pytest.mark.parametrize("environment", [".venv", ".venv-peers", ".venv-lowest"])
def test_an_environment_has_the_locked_packages_and_this_project_where_it_lies(project, environment):
    interpreter = project / "python"
    interpreter.write_text(NEW_ENVIRONMENT)
    interpreter.chmod(0o755)
    shutil.rmtree(project / environment)
    ready = "{}/ready-{}.{}".format(environment, *sys.version_info[:2])
    locked, own = make(project, f"PYTHON={interpreter}", ready)
    assert locked.endswith(f"--no-deps -r requirements{'-lowest' if environment == '.venv-lowest' else ''}.lock")
    assert re.search(r" --no-build-isolation --editable \.(\[peers,datapackage,browser,notebook\])?$", own)


def test_what_builds_this_project_is_locked_as_well():
    (backend,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert backend.startswith("setuptools>=")
    assert re.search(r"^setuptools==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)


def locked(name: str) -> dict[str, Version]:
    lines = (ROOT / name).read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in pins}


def test_the_lowest_versions_that_are_tested_are_those_that_are_allowed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [*project["dependencies"]]
    for extra in ("harness", "dask", "interop", "test"):
        texts += project["optional-dependencies"][extra]
    tested = locked("requirements-lowest.lock")
    for requirement in map(Requirement, texts):
        (bound,) = requirement.specifier
        assert (bound.operator, tested[canonicalize_name(requirement.name)]) == (">=", Version(bound.version))


def test_every_test_that_may_be_skipped_for_want_of_a_package_is_run_where_it_is_installed():
    """What a test imports that .venv has not is seen by the word that skips it."""
    command = [MAKE, "--no-print-directory", "-n", "frameworks"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    run = done.stdout.splitlines()[-1].split()
    known = {"benchmarks", "docs", "harness", "networks", "tests", *sys.stdlib_module_names}
    distributions, installed = packages_distributions(), locked("requirements.lock").keys()
    for path in (ROOT / "tests").rglob("test_*.py"):
        names = [name for node in ast.walk(ast.parse(path.read_text())) for name in imported(node)]
        packages = {name.partition(".")[0] for name in names} - known
        needed = {canonicalize_name(name) for package in packages for name in distributions.get(package, [package])}
        assert needed <= installed or str(path.relative_to(ROOT)) in run, path
