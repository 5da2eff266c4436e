"""Analysis of time tables: paired ratios to store-all, with intervals. All rows must be of finished cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.baseline import COMPARED, _beside_store_all
from harness.analysis.variants import VARIANT

ENOUGH_PAIRS = 15
UNSTEADY_SPREAD = 0.10
CONFIDENCE = 0.95


def time_ratios(table: pd.DataFrame, *, seconds: str, pair_on: list[str]) -> pd.DataFrame:
    """Compare each variant's time with store-all's, pair by pair: a row for each configuration and variant.

    Two times are a pair if they agree in `COMPARED` and in `pair_on`, because times of one round have the same state of
    the machine. The pairs of a row differ in `pair_on`: `["repeat"]` for time.csv, `["seed", "epoch"]` for
    training.csv.

    New columns: `time_ratio` (median of the paired ratios), `ratio_low` and `ratio_high` (its `median_interval`),
    `median_seconds`, `pairs`, and `instability`: reasons not to trust the interval, empty if there are none.
    Store-all's own ratio is 1.

    Known gap: pairs count as independent, but neighbouring rounds on a busy machine are not quite independent.
    """
    configuration = [column for column in COMPARED if column not in pair_on]
    by = [*configuration, *VARIANT]
    paired = _beside_store_all(table, on=[*configuration, *pair_on], store_all_seconds=seconds)
    paired = paired.dropna(subset="store_all_seconds").sort_values(pair_on, kind="stable")
    groups = paired.groupby(by, dropna=False, sort=False)[[seconds, "store_all_seconds"]]
    rows = [dict(zip(by, key, strict=True)) | _compare(*group.to_numpy().T) for key, group in groups]
    return pd.DataFrame(rows).astype(table.dtypes[by].to_dict())


def with_time_ratios(memory: pd.DataFrame, time: pd.DataFrame) -> pd.DataFrame:
    """The cells in both tables, with the `time_ratios` of their steps."""
    ratios = time_ratios(time, seconds="step_seconds", pair_on=["repeat"])
    return memory.merge(ratios, on=[*COMPARED, *VARIANT], validate="one_to_one")


def _compare(times: np.ndarray, store_all: np.ndarray) -> dict[str, object]:
    ratios = times / store_all
    low, high = median_interval(ratios)
    doubts = {
        f"fewer than {ENOUGH_PAIRS} pairs": len(ratios) < ENOUGH_PAIRS,
        f"spread of {100 * UNSTEADY_SPREAD:.0f} % or more": np.std(ratios) >= UNSTEADY_SPREAD * np.mean(ratios),
        "slow first run": times[0] == max(times) and times[0] >= (1 + UNSTEADY_SPREAD) * np.median(times),
    }
    return {
        "time_ratio": np.median(ratios),
        "ratio_low": low,
        "ratio_high": high,
        "median_seconds": np.median(times),
        "pairs": len(ratios),
        "instability": ", ".join(doubt for doubt, holds in doubts.items() if holds),
    }


def paired_ratio(own: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """The median of `own` over `base`, pair by pair, with its `median_interval`."""
    ratios = np.array(own) / np.array(base)
    low, high = median_interval(ratios)
    return {"time_ratio": float(np.median(ratios)), "time_ratio_low": float(low), "time_ratio_high": float(high)}


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the median of `values`, shape `(n,)`, without resampling.

    The median of a resample is at most the k-th smallest value if at least half of its n draws are. A draw is with
    probability k / n. So the bootstrap's distribution is a binomial tail (Efron 1982, chapter 10), and drawing
    resamples only adds noise. With 15 values 2.55 % of the medians are at most the fourth value, so that noise would
    decide between two ends. An even n has two middle values: the lower one gives the low end, the upper one the high
    end.
    """
    n = len(values)
    k = np.arange(1, n + 1)
    tail = (1 - CONFIDENCE) / 2
    low = np.searchsorted(stats.binom.sf((n + 1) // 2 - 1, n, k / n), tail)
    high = np.searchsorted(stats.binom.sf(n // 2, n, k / n), 1 - tail)
    ordered = np.sort(values)
    return ordered[low], ordered[high]
