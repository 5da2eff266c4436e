"""The README's snippets run, its experiment is valid, and its table is the committed results."""

import re
from pathlib import Path

import pandas as pd
import pytest

from harness.experiment import Experiment

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_snippets_run_one_after_another(capsys):
    namespace: dict = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "saved" in printed
    assert namespace["best"].schedule is namespace["planned"].schedule


def test_the_experiment_is_valid(tmp_path):
    (block,) = blocks("toml")
    path = tmp_path / "yours.toml"
    path.write_text(block)
    assert len(Experiment.load(path).cells()) == 12


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
