"""CONTRIBUTING's steps, followed literally: what they add goes through every command and figure that it applies to."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from harness.report.packing import unpacked
from tests.support.documents import ROOT

STEPS = re.compile(r"^(Write|Add to) `(?P<path>\S+)`:\n\n```python\n(?P<code>.*?)^```$", re.M | re.S)
END_OF_REGISTRY = "\n    )\n}\n"

KEEP_WITHIN = '''"""A schedule with a budget and an underscore in its name, which says nothing else of itself."""

from networks.schedules.greedy import greedy


def keep_within(*, budget_bytes: int):
    """Be greedy."""

    def schedule(chain):
        return greedy(budget_bytes=budget_bytes)(chain)

    schedule.__name__ = f"keep_within(budget_bytes={budget_bytes})"
    return schedule
'''

OWN = """
title = "Strangers"
measure = ["memory", "resident", "timeline", "time", "training", "parameters"]
figures = [
    "peak_by_depth", "saving_heatmap", "predicted_vs_measured", "where_it_saves", "time_ratio", "tradeoff",
    "pareto_work", "pareto_time", "winners", "growth", "misses_by_depth", "timeline", "resident_peak",
    "training_curves", "training_time",
]

[grid]
layers = ["64,128x5,10"]
batch = [256]
schedule = ["fraction(part=2)", "keep_within(budget_bytes=700_000)", "optimal(budget_bytes=700_000)"]
checkpoint_frequency = [2]

[resident]
repeats = 1

[training]
epochs = 1
"""

PEERS = """
title = "A strange framework"
measure = ["peers_memory", "resident", "peers_time"]
figures = ["peers_tradeoff", "peers_saving", "peers_resident"]

[grid]
layers = ["64,128x5,10"]
batch = [256]
checkpoint_frequency = [2]
peer = ["numpy.store-all"]

[resident]
repeats = 1
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the steps have been followed, with one experiment for each half of them."""
    home = tmp_path_factory.mktemp("copy")
    for package in ("networks", "harness"):
        shutil.copytree(ROOT / package, home / package, ignore=shutil.ignore_patterns("__pycache__"))
    for action, path, code in STEPS.findall((ROOT / "CONTRIBUTING.md").read_text()):
        if action == "Write":
            assert not (home / path).exists()
            (home / path).write_text(code)
        else:
            _register(home / path, code)
    (home / "networks/schedules/keep_within.py").write_text(KEEP_WITHIN)
    _register(home / "networks/schedules/registry.py", 'Registered(name="keep_within")')
    (home / "experiments").mkdir()
    (home / "experiments/own.toml").write_text(OWN)
    (home / "experiments/peers.toml").write_text(PEERS)
    for name in ("own", "peers"):
        harness(home, "run", name, "--jobs", "2")
    return home


def _register(path: Path, entry: str) -> None:
    registry = path.read_text()
    assert registry.count(END_OF_REGISTRY) == 1
    entry = textwrap.indent(f"\n{entry.rstrip()},", " " * 8)
    path.write_text(registry.replace(END_OF_REGISTRY, entry + END_OF_REGISTRY))


def harness(home: Path, *arguments: str) -> str:
    """What a command prints in the copy, whose packages come before any that are installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_each_of_the_four_is_one_file_and_one_entry():
    steps = [(action, path) for action, path, _ in STEPS.findall((ROOT / "CONTRIBUTING.md").read_text())]
    assert [action for action, _ in steps] == ["Write", "Add to"] * 4
    registries = [
        "networks/schedules/registry",
        *(f"harness/experiment/{x}" for x in ("measures", "figures", "frameworks")),
    ]
    assert [path for action, path in steps if action == "Add to"] == [f"{path}.py" for path in registries]
    assert not [path for action, path in steps if action == "Write" and (ROOT / path).exists()]


def test_strangers_are_listed_and_shown(home):
    listed = harness(home, "list")
    assert "memory, resident, timeline, time, training, parameters" in listed
    assert "peers_memory, resident, peers_time" in listed
    shown = harness(home, "show", "own")
    assert "fraction(part=2)" in shown
    assert "keep_within(budget_bytes=700000)" in shown
    assert "parameters: 5 cells in 5 processes" in shown
    assert "numpy" in harness(home, "show", "peers")


def test_strangers_are_measured(home):
    memory, parameters, peers = (
        pd.read_csv(home / "results" / path)
        for path in ("own/memory.csv", "own/parameters.csv", "peers/peers_memory.csv")
    )
    assert set(memory["status"]) == set(parameters["status"]) == set(peers["status"]) == {"ok"}
    numbers = 64 * 128 + 128 + 4 * (128 * 128 + 128) + 128 * 10 + 10
    assert set(parameters["parameters_bytes"]) == {4 * numbers}
    (strange,) = peers[peers["framework"] == "numpy"].to_dict("records")
    assert strange["forward_steps"] == 6
    assert strange["gradient_error_double"] < 1e-12


def test_every_figure_draws_strangers(home):
    for name, experiment in (("own", OWN), ("peers", PEERS)):
        harness(home, "plot", name)
        drawn = {path.stem for path in (home / "results" / name / "figures").glob("*.svg")}
        assert drawn == set(tomllib.loads(experiment)["figures"])


def test_strange_schedules_are_planned_and_traced(home):
    planned = json.loads(
        harness(home, "plan", "--layers", "64,128x15,10", "--batch", "256", "--budget", "2MB", "--json")
    )
    rows = {row["name"]: row for row in planned["rows"]}
    assert re.fullmatch(r"fraction\(part=\d+\)", rows["fraction"]["schedule"])
    assert rows["fraction"]["fits"]
    assert re.fullmatch(r"keep_within\(budget_bytes=\d+\)", rows["keep_within"]["schedule"])
    for call in ("fraction(part=2)", "keep_within(budget_bytes=700000)"):
        traced = harness(home, "trace", "--layers", "64,128x5,10", "--batch", "256", "--schedule", call)
        assert traced.startswith(f"{call}: layers 64,128x5,10")
        assert "picture: trace.png" in traced


def test_the_flame_graph_of_a_strange_schedule_is_drawn(home):
    memory = pd.read_csv(home / "results/own/memory.csv").set_index("schedule")
    cell = memory.loc["fraction(part=2)", "cell_id"]
    harness(home, "flamegraph", cell)
    assert (home / f"{cell}.html").exists()


def test_strangers_are_ranked_and_reported(home):
    ranked = harness(home, "rank", "own")
    assert "fraction" in ranked
    assert "keep-within" in ranked
    harness(home, "report", "results", "--output", "report.html")
    (packed,) = re.findall(r'id="data">([^<]+)<', (home / "report.html").read_text())
    data = json.dumps(unpacked(packed))
    for stranger in ("fraction(part=2)", "keep_within(budget_bytes=700000)", "parameters_bytes", '"numpy"'):
        assert stranger in data


def test_strangers_are_compared_and_verified(home):
    compared = harness(home, "compare", "own", "own", "--fail-if-memory-grows", "--fail-if-cells-missing")
    assert "memory: 5 of 5 cells equal to the byte" in compared
    assert "parameters: 5 of 5 cells equal to the byte" in compared
    assert "peers_memory: 3 of 3 cells equal to the byte" in harness(home, "compare", "peers", "peers")
    # Memory and parameters of the same two networks.
    assert "results/own: 4 of 4 cells equal to the byte" in harness(home, "verify", "own", "--cells", "4")
    assert "results/peers: 3 of 3 cells equal to the byte" in harness(home, "verify", "peers", "--jobs", "2")
    assert "ours store-all" in harness(home, "peers", "results/peers")
