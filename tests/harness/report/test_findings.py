"""The findings of the committed experiments, each counted again from the lines of the files."""

import csv
from dataclasses import replace

import pytest

from harness.provenance import ROOT
from harness.report.findings import finding
from harness.results.folder import read_results
from tests.support.cells import store_all_cell
from tests.support.tables import memory_table

FIGURES = {"growth": ["growth"], "where_it_saves": ["where_it_saves"], "schedules": ["pareto_work", "winners"]}


def told(name: str):
    tables = read_results(ROOT / "results" / name).tables()
    return finding(tables, FIGURES.get(name, ()))


def peaks(name: str, table: str = "memory") -> list[dict[str, str]]:
    with (ROOT / "results" / name / f"{table}.csv").open(newline="") as file:
        return [{**row, "peak": int(row["memray_peak_bytes"])} for row in csv.DictReader(file)]


def test_growth_tells_the_factors_by_which_peaks_grow():
    peak = {(row["depth"], row["schedule"].partition("(")[0]): row["peak"] for row in peaks("growth")}
    by_kind = {kind: peak["128", kind] / peak["8", kind] for kind in ("", "sqrt", "revolve", "optimal")}
    assert told("growth").number == f"{min(by_kind.values()):.1f} times"
    assert f"store-all {by_kind['']:.1f}, sqrt {by_kind['sqrt']:.1f}" in told("growth").sentence


def test_where_it_saves_counts_the_settings_where_it_does_not():
    rows = [row for row in peaks("where_it_saves") if row["step"] == "backward"]
    whole = {(row["layers"], row["batch"]): row["peak"] for row in rows if row["network"] == "Network"}
    others = [row for row in rows if row["network"] != "Network"]
    vain = sum(1 - row["peak"] / whole[row["layers"], row["batch"]] < 0.05 for row in others)
    assert told("where_it_saves").number == f"{vain} of {len(others)}"


def test_depth_by_frequency_tells_the_best_cell():
    rows = peaks("depth_by_frequency")
    whole = {row["layers"]: row["peak"] for row in rows if row["network"] == "Network"}
    best = max(rows, key=lambda row: 1 - row["peak"] / whole[row["layers"]])
    found = told("depth_by_frequency")
    assert found.number == f"{1 - best['peak'] / whole[best['layers']]:.0%}"
    assert f"n = {best['checkpoint_frequency']} in [{best['layers']}] at batch 1,024" in found.sentence


def test_frameworks_tells_where_the_least_peak_is_ours():
    least = {}
    for row in peaks("peers", "peers_memory"):
        least[row["layers"]] = min(least.get(row["layers"], row), row, key=lambda row: row["peak"])
    ours = sum(row["framework"] == "networks" for row in least.values())
    assert told("peers").number == f"{ours} of {len(least)}"


def test_schedules_tells_that_none_beats_the_optimum():
    number, of, budgets = told("schedules").number.split()
    assert (number, of) == (budgets, "of")
    asked = {(row["layers"], row["schedule"]) for row in peaks("schedules") if row["schedule"].startswith("optimal")}
    assert int(budgets) == len(asked)


@pytest.mark.parametrize("figures", [[], ["growth"], ["where_it_saves"], ["winners"]])
def test_without_store_all_there_is_nothing_to_compare_with(figures):
    cell = replace(
        store_all_cell("8,4x3,3", batch=5),
        network="NetworkWithCheckpointing",
        checkpoint_frequency=2,
        recompute="segment",
    )
    assert finding({"memory": memory_table([cell])}, figures).sentence == "There are tables of memory."
