"""The program around the commands: its name, its version, its completion, and what it says of a missing extra."""

import os
import re
import subprocess
import sys
import tomllib

import pytest

import networks
from harness.errors import EXTRAS, MissingExtraError, naming_extras
from harness.execute import models
from harness.experiment.job import Outcome
from harness.provenance import ROOT

BEGIN = "import sys; sys.argv[0] = {program!r}; from harness.__main__ import main"


def call(*arguments, program="checkpointing-lab", missing=(), **variables) -> subprocess.CompletedProcess[str]:
    """Run the command line as the script of an installation does, without the packages that are `missing`."""
    absent = "".join(f"sys.modules[{package!r}] = None; " for package in missing)
    code = f"{BEGIN.format(program=f'/somewhere/bin/{program}')}; {absent}main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True)


def complete(words: str) -> list[str]:
    """What bash is told for a command line, whose last word is to be completed."""
    position = len(words.split(" ")) - 1
    done = call(_CHECKPOINTING_LAB_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(position))
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("program", "shown"),
    [("checkpointing-lab", "checkpointing-lab"), ("__main__.py", "python -m harness")],
)
def test_usage_shows_the_name_it_was_called_by(program, shown):
    assert call("plan", "--help", program=program).stdout.startswith(f"Usage: {shown} plan [OPTIONS]")
    offered = "--install-completion" in call("--help", program=program).stdout
    assert offered == (program == "checkpointing-lab")  # a shell completes the words of a command only


def test_the_version_is_that_of_the_package():
    done = call("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"checkpointing-lab {networks.__version__}\n", "")


def test_commands_and_their_options_are_completed():
    assert complete("checkpointing-lab pl") == ["plot", "plan"]
    assert complete("checkpointing-lab --ver") == ["--version"]
    assert complete("checkpointing-lab run smoke --jo") == ["--jobs"]
    assert complete("checkpointing-lab nothing --jo") == []


def test_the_name_of_a_command_is_completed_without_its_libraries():
    heavy = ("pandas", "seaborn", "memray", "scipy", "matplotlib")
    done = call(
        missing=heavy, _CHECKPOINTING_LAB_COMPLETE="complete_bash", COMP_WORDS="checkpointing-lab ", COMP_CWORD="1"
    )
    assert "flamegraph" in done.stdout.split()


def test_the_script_for_a_shell_names_the_command():
    script = call("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").stdout
    assert "_CHECKPOINTING_LAB_COMPLETE=complete_bash" in script
    assert script.rstrip().endswith("checkpointing-lab")


@pytest.mark.parametrize(
    ("package", "extra", "arguments"),
    [
        ("typer", "harness", []),
        ("pydantic", "harness", ["list"]),
        ("threadpoolctl", "harness", ["run", "smoke"]),
        ("pandas", "harness", ["peers", "results/peers"]),
        ("seaborn", "harness", ["plot", "results/growth"]),
        ("distributed", "dask", ["run", "smoke", "--dask", "local:1"]),
    ],
)
def test_what_is_not_installed_is_one_line_with_the_extra_that_has_it(package, extra, arguments, tmp_path):
    options = ["--results", tmp_path] if "run" in arguments else []
    done = call(*arguments, *options, missing=[package])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"{package} is not installed; the extra {extra!r} has it: "
        f"pip install '.[{extra}]', in the folder of checkpointing-lab\n"
    )


def test_results_cannot_be_read_without_the_extra():
    code = "import sys; sys.modules['pydantic'] = None; import harness; harness.open_results('results/growth')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith(
        "harness.errors.MissingExtraError: pydantic is not installed; the ext"
    )


def test_a_model_without_pytorch_names_the_extra(monkeypatch):
    outcome = Outcome(None, "ModuleNotFoundError: No module named 'torch'")
    monkeypatch.setattr(models, "run_in_subprocess", lambda job: outcome)
    with pytest.raises(MissingExtraError, match=r"^torch is not installed; the extra 'peers' has it: pip install "):
        models.OwnModel.in_file(f"{ROOT / 'examples/models/mlp.py'}:make").profile()


def test_what_no_extra_has_is_not_blamed_on_one():
    with pytest.raises(ModuleNotFoundError) as caught, naming_extras():
        raise ModuleNotFoundError("No module named 'harness.nothing'", name="harness.nothing")
    assert not isinstance(caught.value, MissingExtraError)


def test_extras_are_those_of_the_project():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    imported = {"scikit-learn": "sklearn", "vl-convert-python": "vl_convert"}
    for extra, packages in EXTRAS.items():
        names = [re.match(r"[\w-]+", requirement)[0] for requirement in extras[extra]]
        assert sorted(packages) == sorted(imported.get(name, name) for name in names)


def test_an_installation_has_the_command():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"checkpointing-lab": "harness.__main__:main"}
