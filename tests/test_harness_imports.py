"""Who may import what: the command line stays light, and what is measured is alone in its process."""

import subprocess
import sys

import pytest

from harness.provenance import ROOT

NOT_OF_NETWORKS = {"harness", "memray", "pandas", "scipy", "sklearn", "threadpoolctl"}
FORBIDDEN = {
    "harness": {"numpy", "pandas", "pydantic", "matplotlib", "typer"},
    "harness.__main__": {"numpy", "pandas", "pydantic", "matplotlib", "typer"},
    "harness.commands.command_line": {"memray", "pandas", "scipy", "seaborn", "sklearn", "matplotlib"},
    "harness.worker": {"pandas", "scipy", "seaborn", "sklearn", "matplotlib", "pydantic", "typer"},
    "networks": {"numpy", *NOT_OF_NETWORKS},
    "networks.planning.planner": NOT_OF_NETWORKS,
    "networks.training": NOT_OF_NETWORKS,
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_a_module_imports_nothing_that_is_not_its_business(module):
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert FORBIDDEN[module].isdisjoint(done.stdout.split())
