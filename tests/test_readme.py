"""The README's snippets run, its experiment and its tables are right, and the reference of experiments is whole."""

import re
from pathlib import Path

import pandas as pd
import pytest

from harness.experiment import FIGURE_NEEDS, MEASURES, SECTIONS, Experiment, LimitSettings
from harness.frameworks import named
from harness.grid import Grid
from harness.peers import PEERS
from harness.recorded import read_results

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs/experiments.md").read_text()


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_snippets_run_one_after_another(capsys):
    namespace: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "saved" in printed
    assert namespace["best"].schedule is namespace["planned"].schedule


@pytest.mark.parametrize(("text", "cells"), [(README, 12), (REFERENCE, 16)], ids=["README", "reference"])
def test_the_experiment_is_valid(text, cells, tmp_path):
    (block,) = blocks("toml", text)
    path = tmp_path / "yours.toml"
    path.write_text(block)
    assert len(Experiment.load(path).cells()) == cells


def test_the_reference_names_every_key_dimension_measure_figure_and_framework():
    settings = [field for section in (*SECTIONS.values(), LimitSettings) for field in section.model_fields]
    keys = {*Experiment.model_fields, *Grid.model_fields, *settings, *MEASURES, *FIGURE_NEEDS, *PEERS}
    assert not keys - set(re.findall(r"`\[{0,2}\"?([\w.-]+)\"?\]{0,2}`", REFERENCE))


def test_the_cell_whose_flame_graph_it_shows_is_there():
    (cell,) = re.findall(r"harness flamegraph (\w+)", README)
    tables = (pd.read_csv(path) for path in ROOT.glob("results/*/memory.csv"))
    assert any(table.cell_id.str.startswith(cell).any() for table in tables)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(((?!http)[^)]+)\)", README))))
def test_what_it_links_to_is_there(path):
    assert (ROOT / path).exists()


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


FRAMEWORKS = {
    "ours, store-all": "ours store-all",
    "ours, every n-th saved": "ours checkpoint, n = {n}",
    "the same by `train_step`": "ours train step, n = {n}",
    "PyTorch, plain": "torch store-all",
    "PyTorch, `checkpoint`": "torch checkpoint, n = {n}",
    "JAX, plain": "jax store-all",
    "JAX, `jax.checkpoint`": "jax checkpoint, n = {n}",
    "JAX, `jax.checkpoint` under `lax.scan`": "jax scan checkpoint, n = {n}",
    "scikit-learn": "sklearn backprop",
}


def test_its_table_of_frameworks_is_the_committed_results():
    measured = named(read_results(ROOT / "results/peers").tables()["peers_memory"])
    peaks = measured.set_index(["layers", "batch", "name"]).memray_peak_bytes
    (table,) = re.findall(r"^\| peak of one step .*?\n\n", README, flags=re.MULTILINE | re.DOTALL)
    header, _, *rows = (line.strip("| ").split(" | ") for line in table.split("\n") if line)
    networks = re.findall(r"`([^`]+)`, batch (\d+)", " ".join(header))
    assert len(networks) == 3
    assert len(rows) == len(FRAMEWORKS)
    for (variant, *cells), name in zip(rows, FRAMEWORKS.values(), strict=True):
        assert FRAMEWORKS[variant.removesuffix(" (n = 2, 4, 16)")] == name
        for (layers, batch), n, cell in zip(networks, (2, 4, 16), cells, strict=True):
            peak = peaks.get((layers, int(batch), name.format(n=n)))
            assert cell == ("-" if peak is None else f"{peak / 2**20:.1f} MiB")
