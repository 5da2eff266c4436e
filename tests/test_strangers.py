"""Two strangers go through every command, from a folder outside the checkout: nothing of ours is edited or installed.

One is a file, the example's; the other is in a package as an installer leaves it, which announces it as well.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from harness.experiment.figures import FIGURES
from tests.support.documents import ROOT, blocks

PACKAGE = '''
from strange_rules.parts import every


def sparse(*, part: int = 2):
    """Keep few.

    Paper: Stranger 2031, section 4
    """

    def schedule(chain):
        return lambda cached, start, stop: {0, *cached, *every(part, start, stop)}

    return schedule
'''
PARTS = """
def every(part, start, stop):
    return (layer for layer in range(start + 1, stop + 1) if layer % part == 0)
"""
MEASURED = ["memory", "timeline", "time", "resident", "training"]
OWN = [figure for figure, told in FIGURES.items() if set(told.needs) <= set(MEASURED)]
TEXT = f"""
title = "Strangers"
measure = {json.dumps(MEASURED)}
figures = {json.dumps(OWN)}

[grid]
layers = ["64,48x7,10"]
batch = [64]
checkpoint_frequency = [2]
schedule = [
    "rules/fibonacci.py:fibonacci()",
    "rules/evenly.py:evenly(budget_bytes=250_000)",
    "strange_rules.inner:sparse(part=3)",
    "sparse()",
    "optimal(budget_of='rules/fibonacci.py:fibonacci()*1.1')",
    "optimal(budget_bytes=250_000)",
]

[resident]
repeats = 1

[training]
epochs = 1
"""
FIBONACCI, EVENLY = "rules/fibonacci.py", "rules/evenly.py"
NETWORK = ["--layers", "64,48x7,10", "--batch", "64"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment that was run, its file of schedules, and a place with an installed package."""
    home = tmp_path_factory.mktemp("strangers")
    (home / "study/rules").mkdir(parents=True)
    for file in (FIBONACCI, EVENLY):
        shutil.copy(ROOT / "examples" / Path(file).name, home / "study" / file)
    (home / "study/own.toml").write_text(TEXT)
    package, described = home / "site/strange_rules", home / "site/strange_rules-4.2.dist-info"
    package.mkdir(parents=True)
    described.mkdir()
    (package / "__init__.py").touch()
    (package / "inner.py").write_text(PACKAGE)
    (package / "parts.py").write_text(PARTS)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: strange-rules\nVersion: 4.2\n")
    (described / "entry_points.txt").write_text("[checkpointing_lab.schedules]\nsparse = strange_rules.inner:sparse\n")
    harness(home, "run", "study/own.toml", "--jobs", "2")
    return home


def harness(home: Path, *arguments: str, code: int = 0) -> str:
    """What a command prints that is run in the strangers' folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(home / "site")])}
    command = [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_they_are_measured_as_they_are_predicted(home):
    for measure in ("memory", "timeline", "time", "resident", "training"):
        table = pd.read_csv(home / f"results/own/{measure}.csv")
        assert set(table["status"]) == {"ok"}
        assert table["schedule"].nunique() == 6
    memory = pd.read_csv(home / "results/own/memory.csv").set_index("schedule")
    assert (memory["tracker_peak_bytes"] == memory["predicted_peak_bytes"]).all()
    # The layers that are kept of 8, beside those of a segment.
    assert memory.loc[f"{FIBONACCI}:fibonacci()", "forward_steps"] == 10
    assert memory.loc["strange_rules.inner:sparse(part=3)", "forward_steps"] > memory.loc["sparse()", "forward_steps"]


def test_they_are_shown(home):
    shown = harness(home, "show", "study/own.toml")
    texts = (f"{FIBONACCI}:fibonacci()", f"{EVENLY}:evenly(budget_bytes=250000)", "strange_rules.inner:sparse(part=3)")
    for text in texts:
        assert re.search(rf"^{re.escape(text)}  +[0-9,]+  +[0-9,]+$", shown, re.M), shown
    assert "finished: " in shown


def test_every_figure_draws_them_without_running_their_code(home, tmp_path):
    copy = tmp_path / "own"
    shutil.copytree(home / "results/own", copy)
    environment = json.loads((copy / "environment.json").read_text())
    environment["sources"][FIBONACCI] = "raise SystemExit('nobody asked for this')"
    (copy / "environment.json").write_text(json.dumps(environment))
    harness(tmp_path, "plot", str(copy))  # where the package is not installed
    assert {path.stem for path in (copy / "figures").glob("*.svg")} == set(OWN)
    legend = (copy / "figures/pareto_work.svg").read_text()
    assert f"{FIBONACCI}:fibonacci" in legend
    assert "strange_rules.inner:sparse" in legend


def test_they_are_compared_and_verified_from_the_results_alone(home, tmp_path):
    copy = tmp_path / "moved"
    shutil.copytree(home / "results/own", copy)
    compared = harness(home, "compare", "own", str(copy), "--fail-if-memory-grows")
    assert "memory: 8 of 8 cells equal to the byte" in compared
    (tmp_path / "site").symlink_to(home / "site")
    assert f"{copy}: 8 of 8 cells equal to the byte" in harness(tmp_path, "verify", str(copy), "--jobs", "2")


def test_they_are_ranked_from_the_results_alone(home, tmp_path):
    copy = tmp_path / "own"
    shutil.copytree(home / "results/own", copy)
    ranked = harness(tmp_path, "rank", str(copy))  # where the package is not installed
    table = pd.read_csv(copy / "ranking.csv").set_index("kind")
    memory = pd.read_csv(copy / "memory.csv").set_index("schedule")
    least = memory.loc["optimal(budget_bytes=250000)", "forward_flops"]
    kinds = {
        f"{FIBONACCI}:fibonacci": f"{FIBONACCI}:fibonacci()",
        f"{EVENLY}:evenly": f"{EVENLY}:evenly(budget_bytes=250000)",
        "strange_rules.inner:sparse": "strange_rules.inner:sparse(part=3)",
        "sparse": "sparse()",
    }
    for kind, text in kinds.items():
        row, cell = table.loc[kind], memory.loc[text]
        assert (row["fits"] == "yes") == (cell["predicted_peak_bytes"] <= 250_000)
        assert row["over_optimum"] == pytest.approx(cell["forward_flops"] / least)
        assert re.search(rf"^{re.escape(kind)} +{row['over_optimum']:.2f}", ranked, re.M), ranked


def test_the_flame_graph_of_a_stranger_is_drawn_from_the_results_alone(home, tmp_path):
    memory = pd.read_csv(home / "results/own/memory.csv").set_index("schedule")
    cell = memory.loc[f"{FIBONACCI}:fibonacci()", "cell_id"]
    harness(tmp_path, "flamegraph", cell, "--results", str(home / "results/own"))
    assert (tmp_path / f"{cell}.html").exists()


def test_they_are_traced_and_planned(home):
    for text in (f"study/{FIBONACCI}:fibonacci()", "strange_rules.inner:sparse(part=3)", "sparse()"):
        assert harness(home, "trace", *NETWORK, "--schedule", text).startswith(f"{text}: layers 64,48x7,10")
    evenly, fibonacci = f"study/{EVENLY}:evenly", f"study/{FIBONACCI}:fibonacci"
    texts = [f"{evenly}()", f"{evenly}(budget_bytes=1)", f"{fibonacci}()", "sparse()"]
    options = [option for text in texts for option in ("--schedule", text)]
    told = harness(home, "plan", *NETWORK, "--budget", "300kB", *options, "--json")
    planned, _ = json.JSONDecoder().raw_decode(told)  # a slow machine says on stderr that it takes long
    rows = {row["name"]: row for row in planned["rows"]}
    budgets = [re.fullmatch(r".*evenly\(budget_bytes=(\d+)\)", rows[text]["schedule"])[1] for text in texts[:2]]
    assert len(set(budgets)) == 1
    assert 200_000 < int(budgets[0]) <= 300_000
    assert rows[texts[0]]["fits"]
    assert rows[texts[2]]["schedule"] == texts[2]


def test_what_packages_announce_is_listed_beside_ours(home):
    listed = harness(home, "list", "--schedules")
    assert re.search(
        r"^revolve\(\*, slots\)\n +networks\.schedules\.revolve\n +Griewank and Walther 2000", listed, re.M
    )
    assert (
        "\nsparse(*, part=2)\n    strange_rules.inner:sparse, strange-rules 4.2\n    Stranger 2031, section 4\n"
        in listed
    )


def test_the_file_travels_to_the_nodes_of_a_cluster(home, tmp_path):
    (tmp_path / "site").symlink_to(home / "site")
    shutil.copytree(home / "study", tmp_path / "study")
    text = TEXT.replace('"timeline", "time", "resident", "training"', "").split("[resident]")[0]
    (tmp_path / "study/own.toml").write_text(re.sub(r"figures = .*", "", text))
    said = harness(tmp_path, "run", "study/own.toml", "--dask", "local:2")
    assert "Strangers: 8 cells, 0 failed, 0 measured earlier" in said
    assert (tmp_path / "results/own/memory.csv").read_bytes() == (home / "results/own/memory.csv").read_bytes()


@pytest.mark.parametrize(
    ("path", "names", "cells"),
    [
        (f"study/{FIBONACCI}", FIBONACCI, 2),
        (f"study/{EVENLY}", EVENLY, 1),
        ("site/strange_rules/inner.py", "strange_rules.inner", 2),
        ("site/strange_rules/parts.py", "strange_rules.inner", 2),
    ],
)
def test_an_edit_measures_the_strangers_own_cells_again_and_no_others(home, tmp_path, path, names, cells):
    for folder in ("study", "site", "results"):
        shutil.copytree(home / folder, tmp_path / folder)
    text = TEXT.replace('"timeline", "time", "resident", "training"', "").split("[resident]")[0]
    (tmp_path / "study/own.toml").write_text(re.sub(r"figures = .*", "", text))
    with (tmp_path / path).open("a") as file:
        file.write("# an edit\n")
    said = harness(tmp_path, "run", "study/own.toml")
    assert re.search(
        rf"^{cells} cells? (is|are) measured again: the code of {re.escape(names)} has changed", said, re.M
    ), said
    assert f"Strangers: 8 cells, 0 failed, {8 - cells} measured earlier" in said


def test_the_page_on_schedules_shows_the_files_of_examples():
    page = (ROOT / "docs/write-a-schedule.md").read_text()
    whole = (ROOT / "examples/fibonacci.py").read_text()
    assert whole in [block.code for block in blocks(page, "python")]
    assert len(whole.splitlines()) <= 20
    indented = (f"      {line}".rstrip() for line in (ROOT / "examples/evenly.py").read_text().splitlines())
    assert "\n".join(indented) in page


def test_the_example_runs_as_it_is(tmp_path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    said = harness(tmp_path, "run", "examples/fibonacci.toml", "--jobs", "2")
    assert "A schedule of one's own beside ours: 6 cells, 0 failed" in said
    harness(tmp_path, "plot", "fibonacci")
