"""README and docs tell the truth: snippets print what is shown, tables are the results, links lead somewhere."""

import re
import tomllib

import pandas as pd
import pytest

import harness
import networks
from harness.analysis.frameworks import with_names
from harness.analysis.memory import residuals
from harness.analysis.models import with_times
from harness.analysis.time import paired_ratio
from harness.experiment.figures import FIGURES
from harness.experiment.file import Experiment
from harness.experiment.frameworks import PEERS
from harness.experiment.grid import Grid
from harness.experiment.measures import TABLES
from harness.experiment.model_grid import ModelGrid
from harness.experiment.settings import SECTIONS, LimitSettings
from harness.results.folder import read_results
from tests.support.documents import PAGES, ROOT, blocks, commands, lasting, output_of_command, outputs_of_python

TEXTS = {page: path.read_text() for page, path in PAGES.items()}
README, REFERENCE, MEASURE = (TEXTS[page] for page in ("README.md", "docs/experiments.md", "docs/measure.md"))
LINKED = {**TEXTS, **{page: (ROOT / page).read_text() for page in ("CONTRIBUTING.md", "CHANGELOG.md")}}

OF_TORCH = "docs/own-models.md"
"""Its snippets run where PyTorch is installed: tests/test_own_models_page.py."""

WITH_PYTHON = [page for page, text in TEXTS.items() if blocks(text, "python") and page != OF_TORCH]
COMMANDS = [
    pytest.param(block, id=f"{page}-{block.code.split()[3]}") for page in TEXTS for block in commands(TEXTS[page])
]


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_snippets_run_one_after_another_and_print_what_is_shown(page):
    for block, printed in outputs_of_python(TEXTS[page], page):
        assert printed == (block.output or ""), block.code


@pytest.mark.parametrize("block", COMMANDS)
def test_commands_print_what_is_shown(block):
    assert lasting(output_of_command(block.code)) == lasting(block.output)


def test_what_a_page_shows_of_a_command_is_compared_but_for_the_times():
    shown = "schedule  work   time\n──────\nsqrt()   1.801  1.264\n\nwork: operations\n"
    assert lasting(shown) == lasting(shown.replace("1.264", "1.301").replace("\n\n", "\n"))
    assert lasting(shown) != lasting(shown.replace("1.801", "1.802"))
    assert lasting(shown) != lasting(shown.replace("work:", "works:"))


def test_the_readme_is_read_in_one_sitting():
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize(("page", "cells"), [("docs/measure.md", 12), ("docs/experiments.md", 16)])
def test_the_experiment_is_valid(page, cells, tmp_path):
    (block,) = blocks(TEXTS[page], "toml")
    path = tmp_path / "yours.toml"
    path.write_text(block.code)
    assert len(Experiment.load(path).cells()) == cells


def test_the_reference_names_every_key_dimension_measure_figure_and_framework():
    settings = [field for section in (*SECTIONS.values(), LimitSettings) for field in section.model_fields]
    keys = {*Experiment.model_fields, *Grid.model_fields, *ModelGrid.model_fields, *settings, *TABLES, *FIGURES, *PEERS}
    assert not keys - set(re.findall(r"`\[{0,2}\"?([\w.-]+)\"?\]{0,2}`", REFERENCE))


def test_every_experiment_is_described():
    experiments = {path.stem for path in ROOT.glob("experiments/*.toml")} - {"smoke"}
    assert set(re.findall(r"^\| `(\w+)` \|", MEASURE, flags=re.MULTILINE)) == experiments


def test_the_cell_whose_flame_graph_it_shows_is_there():
    (cell,) = re.findall(r"harness flamegraph (\w+)", MEASURE)
    tables = (pd.read_csv(path) for path in ROOT.glob("results/*/memory.csv"))
    assert any(table.cell_id.str.startswith(cell).any() for table in tables)


def anchors(text: str) -> set[str]:
    """The anchors of the headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED)
def test_what_it_links_to_is_there(page):
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", LINKED[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", LINKED)
def test_a_frequency_keeps_and_never_saves_every_nth(page):
    assert not re.findall(r"(?i)\bsaves? every|every \S+ (?:after|activation) (?:is )?saved|n-th saved", LINKED[page])


def test_version_and_date_are_the_same_wherever_they_are_told():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "networks.__version__"}
    version = networks.__version__
    assert harness.__version__ == version
    assert set(harness.__all__) <= set(dir(harness))
    citation = (ROOT / "CITATION.cff").read_text()
    (date,) = re.findall(r"^date-released: (.*)$", citation, flags=re.MULTILINE)
    assert f"\nversion: {version}\n" in citation
    assert re.findall(r"^## (.*)$", LINKED["CHANGELOG.md"], flags=re.MULTILINE)[:2] == [
        "[Unreleased]",
        f"[{version}] - {date}",
    ]


def test_its_table_is_the_committed_results():
    table = pd.read_csv(ROOT / "results/depth_by_frequency/memory.csv")
    peaks = table.set_index(["depth", "checkpoint_frequency"]).memray_peak_bytes
    store_all = table[table.network == "Network"].set_index("depth").memray_peak_bytes
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) MiB \| (.*) \|$", README, flags=re.MULTILINE)
    header = re.search(r"^\| depth \| store-all \| (.*) \|$", README, flags=re.MULTILINE)
    frequencies = [int(number) for number in re.findall(r"n = (\d+)", header[1])]
    assert len(rows) == table.depth.nunique()
    for depth, mebibytes, cells in rows:
        assert mebibytes == f"{store_all[int(depth)] / 2**20:.1f}"
        for frequency, cell in zip(frequencies, cells.split(" | "), strict=True):
            peak = peaks[int(depth), frequency]
            saved = max(0, 1 - peak / store_all[int(depth)])
            assert cell == f"{peak / 2**20:.1f} MiB ({saved:.0%})"


ROWS_OF_FRAMEWORKS = {
    "ours, store-all": "ours store-all",
    "ours, keeps every n-th activation": "ours checkpoint, n = {n}",
    "ours, the same n, with `train_step`": "ours train step, n = {n}",
    "PyTorch, plain": "torch store-all",
    "PyTorch, `checkpoint`": "torch checkpoint, n = {n}",
    "JAX, plain": "jax store-all",
    "JAX, `jax.checkpoint`": "jax checkpoint, n = {n}",
    "JAX, `jax.checkpoint` under `lax.scan`": "jax scan checkpoint, n = {n}",
    "scikit-learn": "sklearn backprop",
}


def test_how_far_peaks_are_above_predictions_is_told_as_it_is_committed():
    memory = residuals(pd.concat(pd.read_csv(path) for path in ROOT.glob("results/*/memory.csv")))
    beyond = memory[~memory.within_bound]
    text = " ".join(PAGES["docs/trust.md"].read_text().split())
    assert f"In {len(memory) - len(beyond)} of {len(memory)} committed rows the difference is at most 0.5 %" in text
    assert f"In the other {len(beyond)} it is at most {beyond.residual_bytes.max() / 2**10:.1f} KiB" in text
    assert beyond.depth.isin([49, 128]).all()


def test_its_table_of_frameworks_is_the_committed_results():
    measured = with_names(read_results(ROOT / "results/peers").tables()["peers_memory"])
    peaks = measured.set_index(["layers", "batch", "name"]).memray_peak_bytes
    (table,) = re.findall(r"^\| peak of one step .*?\n\n", README, flags=re.MULTILINE | re.DOTALL)
    header, _, *rows = (line.strip("| ").split(" | ") for line in table.split("\n") if line)
    networks = re.findall(r"`([^`]+)`, batch (\d+)", " ".join(header))
    assert len(networks) == 3
    assert len(rows) == len(ROWS_OF_FRAMEWORKS)
    for (variant, *cells), name in zip(rows, ROWS_OF_FRAMEWORKS.values(), strict=True):
        assert ROWS_OF_FRAMEWORKS[variant.removesuffix(" (n = 2 in A, 4 in B, 16 in D)")] == name
        for (layers, batch), n, cell in zip(networks, (2, 4, 16), cells, strict=True):
            peak = peaks.get((layers, int(batch), name.format(n=n)))
            assert cell == ("-" if peak is None else f"{peak / 2**20:.1f} MiB")


def rows_of_models(*, interval: bool) -> list[str]:
    """A row of a table for each model: steps at the lowest peak of PyTorch's own checkpoints, and our lowest peak."""
    memory, time = read_results(ROOT / "results/own_models").tables().values()
    seconds = time.pivot(index="repeat", columns="cell_id", values="step_seconds")

    def megabytes(peak: int) -> str:
        return f"{peak / 10**6:.1f} MB"

    def ratio(median: float, low: float, high: float) -> str:
        return f"{median:.2f}" + (f" ({low:.2f}-{high:.2f})" if interval else "")

    rows = []
    for name, steps in with_times(memory, time).sort_values("peak_bytes").groupby("name"):
        of = dict(list(steps.groupby("kind")))
        theirs, ours = of["torch_checkpoint"].iloc[0], of["planned"]
        there = ours[ours.peak_bytes <= theirs.peak_bytes].iloc[-1]
        peaks = [megabytes(of["plain"].peak_bytes.iloc[0]), megabytes(theirs.peak_bytes)]
        pairs = seconds[[there.cell_id, theirs.cell_id]].dropna()  # of the same round
        ours_over_theirs = paired_ratio(*(pairs[cell_id] for cell_id in pairs))
        of_plain = ratio(theirs.time_ratio, theirs.ratio_low, theirs.ratio_high)
        cells = (name, *peaks, of_plain, ratio(*ours_over_theirs.values()), megabytes(ours.peak_bytes.iloc[0]))
        rows.append(f"| {' | '.join(cells)} |")
    return sorted(rows)


@pytest.mark.parametrize(("page", "interval"), [("README.md", False), ("docs/own-models.md", True)])
def test_the_table_of_pytorch_models_is_the_committed_results(page, interval):
    (table,) = re.findall(r"^\|[^\n]+\| our lowest peak \|\n\|[-|]+\n(.*?)\n\n", PAGES[page].read_text(), re.M | re.S)
    assert sorted(table.split("\n")) == rows_of_models(interval=interval)
