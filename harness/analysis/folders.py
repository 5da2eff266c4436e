"""Compares two results folders cell by cell. `a` is the earlier folder, `b` the later. Pure: tables in, tables out."""

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.time import CONFIDENCE

RESAMPLES = 2_000


def memory_differences(a: pd.DataFrame, b: pd.DataFrame, *, peak: str) -> pd.DataFrame:
    """Cells finished in both memory tables: `a_bytes`, `b_bytes` and `difference_bytes` of the column `peak`."""
    peaks = [table.query("status == 'ok'").set_index("cell_id")[peak] for table in (a, b)]
    both = pd.concat(peaks, axis=1, keys=["a_bytes", "b_bytes"], join="inner")
    return both.assign(difference_bytes=both["b_bytes"] - both["a_bytes"]).reset_index()


def time_differences(a: pd.DataFrame, b: pd.DataFrame, *, seconds: str) -> pd.DataFrame:
    """Cells finished in both time tables: `time_ratio`, the median of `seconds` in `b` over that in `a`.

    `ratio_low` and `ratio_high` are the 95 % interval of that ratio by the percentile bootstrap. `p_value` is of the
    two-sided Mann-Whitney test that the times are alike, corrected by Holm's method for the number of cells.

    Known gap: all repeats of a cell come from one process. Differences between processes, and changes of the machine
    between the two runs, count as differences of the cells.
    """
    finished = [table.query("status == 'ok'").groupby("cell_id", sort=False)[seconds] for table in (a, b)]
    before, after = ({cell_id: times.to_numpy() for cell_id, times in groups} for groups in finished)
    rows = [{"cell_id": cell_id, **_ratio(before[cell_id], after[cell_id])} for cell_id in before if cell_id in after]
    table = pd.DataFrame(rows, columns=["cell_id", "time_ratio", "ratio_low", "ratio_high", "p_value"])
    return table.assign(p_value=holm(table["p_value"].to_numpy(dtype="float64")))


def _ratio(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    def ratio(after: np.ndarray, before: np.ndarray, axis: int) -> np.ndarray:
        return np.median(after, axis=axis) / np.median(before, axis=axis)

    if min(len(before), len(after)) < 2:  # one value gives no interval
        only = ratio(after, before, axis=0)
        return {"time_ratio": only, "ratio_low": only, "ratio_high": only, "p_value": 1.0}
    drawn = stats.bootstrap(
        (after, before),
        ratio,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return {
        "time_ratio": ratio(after, before, axis=0),
        "ratio_low": drawn.confidence_interval.low,
        "ratio_high": drawn.confidence_interval.high,
        "p_value": stats.mannwhitneyu(before, after).pvalue,
    }


def holm(p_values: np.ndarray) -> np.ndarray:
    """P-values corrected for a family of tests: they bound the chance of any false positive in the family.

    Holm (1979): the k-th smallest of m values is multiplied by m - k + 1, and no result is below an earlier one.
    """
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(order), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def only_in(one: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    """The cells that are finished in `one` table and not in the `other`."""
    finished = [table.loc[table["status"] == "ok", "cell_id"] for table in (one, other)]
    return list(dict.fromkeys(finished[0][~finished[0].isin(finished[1])]))
