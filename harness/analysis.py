"""What the tables say: savings, residuals, paired time ratios, fronts. Pure: a DataFrame in, a new one out.

Every comparison of a variant is with store-all of the same configuration, the columns `COMPARED`, whose step is by
`backward`. All rows must be of finished cells.
"""

import numpy as np
import pandas as pd
from scipy import stats

from harness.variants import STORE_ALL, VARIANT
from networks.cache import KINDS
from networks.chain import Chain
from networks.layer_lists import parse_layers
from networks.planner import fills_most

COMPARED = ["layers", "depth", "width", "batch", "dtype", "activation", "seed"]

RESIDUAL_BOUND_SHARE = 0.005
RESIDUAL_BOUND_BYTES = 32 * 2**10

ENOUGH_PAIRS = 15
UNSTEADY_SPREAD = 0.10
CONFIDENCE = 0.95


def savings(memory: pd.DataFrame) -> pd.DataFrame:
    """Add what each cell's measured peak saves against store-all's, and the most that any schedule could.

    New columns: `store_all_peak_bytes`, `saved_bytes`, and as shares of store-all's peak `saved_share` and
    `savable_share` (all above the `floor_bytes`). Missing where store-all's cell is.
    """
    table = _beside_store_all(memory, store_all_peak_bytes="memray_peak_bytes")
    store_all = table["store_all_peak_bytes"].astype("Float64")
    saved = table["store_all_peak_bytes"] - table["memray_peak_bytes"]
    return table.assign(
        saved_bytes=saved, saved_share=saved / store_all, savable_share=1 - floor_bytes(table) / store_all
    )


def floor_bytes(memory: pd.DataFrame) -> pd.Series:
    """The peak below which no schedule can go: the dearest backward step with no after but the one it works on."""

    def floor(chain: Chain) -> int:
        return max(beside + below for beside, below in zip(chain.serve_bytes[1:], chain.after_bytes[:-1], strict=True))

    return pd.Series(map(floor, chains(memory)), index=memory.index)


def chains(table: pd.DataFrame) -> list[Chain]:
    """The chain that each row's network trains on by `backward` and in one part."""
    return [
        Chain(parse_layers(layers), int(batch), np.dtype(dtype).itemsize)
        for layers, batch, dtype in zip(table["layers"], table["batch"], table["dtype"], strict=True)
    ]


def dominant_kind(memory: pd.DataFrame) -> pd.DataFrame:
    """Add `dominant_kind`, which of a plan's `REMEDIES` fills most of the tracker's peak, and its `dominant_share`."""
    peaks = memory[[f"tracker_{kind}_bytes" for kind in KINDS]].set_axis(KINDS, axis=1)
    dominant = [fills_most(peak) for peak in peaks.to_dict("records")]
    return memory.assign(dominant_kind=[kind for kind, _ in dominant], dominant_share=[share for _, share in dominant])


def residual_bound(predicted_bytes: np.ndarray) -> np.ndarray:
    """How far memray's peak may lie from a prediction, in bytes: 0.5 % of it, but no less than 32 KiB."""
    return np.maximum(RESIDUAL_BOUND_SHARE * predicted_bytes, RESIDUAL_BOUND_BYTES)


def residuals(memory: pd.DataFrame) -> pd.DataFrame:
    """Add `bound_bytes`, the `residual_bound`, and `within_bound`, whether `residual_bytes` keeps to it."""
    bound = residual_bound(memory["predicted_peak_bytes"].to_numpy(dtype="float64"))
    return memory.assign(bound_bytes=bound, within_bound=memory["residual_bytes"].abs() <= bound)


def work_ratios(memory: pd.DataFrame) -> pd.DataFrame:
    """Add what each row's `forward_flops` are over store-all's, and what the whole step's work is.

    New columns: `forward_work_ratio`, and `work_ratio`, of the operations of all matrix products of the step. Backward
    has two products of each layer's size, for its parameter deltas and for the delta below, which layer 1 goes without.
    """
    forward = np.array([sum(chain.forward_flops) for chain in chains(memory)])
    backward = 2 * forward - [chain.forward_flops[1] for chain in chains(memory)]
    flops = memory["forward_flops"].to_numpy(dtype="float64")
    return memory.assign(forward_work_ratio=flops / forward, work_ratio=(flops + backward) / (forward + backward))


def time_ratios(table: pd.DataFrame, *, seconds: str, pair_on: list[str]) -> pd.DataFrame:
    """Compare each variant's time with store-all's, pair by pair, a row a configuration and variant.

    Two times make a pair when they agree in `COMPARED` and in `pair_on`: what was measured in the same round saw
    the same machine. The columns of `pair_on` are pooled: `["repeat"]` for time.csv, `["seed", "epoch"]` for
    training.csv.

    New columns: `time_ratio` (median of the paired ratios), `ratio_low` and `ratio_high` (its
    `median_interval`), `median_seconds`, `pairs`, and `instability`: what speaks against trusting the
    interval, empty if nothing does. Store-all's own ratio is 1.

    Known gap: pairs count as independent, which neighbouring rounds on a busy machine are not quite.
    """
    configuration = [column for column in COMPARED if column not in pair_on]
    by = [*configuration, *VARIANT]
    paired = _beside_store_all(table, on=[*configuration, *pair_on], store_all_seconds=seconds)
    paired = paired.dropna(subset="store_all_seconds").sort_values(pair_on, kind="stable")
    groups = paired.groupby(by, dropna=False, sort=False)[[seconds, "store_all_seconds"]]
    rows = [dict(zip(by, key, strict=True)) | _compare(*group.to_numpy().T) for key, group in groups]
    return pd.DataFrame(rows).astype(table.dtypes[by].to_dict())


def with_time_ratios(memory: pd.DataFrame, time: pd.DataFrame) -> pd.DataFrame:
    """The cells of `memory` that `time` has too, with the `time_ratios` of their steps."""
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


def median_interval(values: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap's 95 % interval of the median of `values`, shape `(n,)`, without resampling.

    The median of a resample is at most the k-th smallest value when at least half of its n draws are, each with
    probability k / n: the bootstrap's distribution is a binomial tail (Efron 1982, chapter 10). Drawing
    resamples only adds noise to it. With 15 values, where 2.55 % of the medians reach no further than the fourth
    value, that noise would decide between two ends. An even n has two middle values: the lower one gives the
    low end, the upper one the high end.
    """
    n = len(values)
    k = np.arange(1, n + 1)
    tail = (1 - CONFIDENCE) / 2
    low = np.searchsorted(stats.binom.sf((n + 1) // 2 - 1, n, k / n), tail)
    high = np.searchsorted(stats.binom.sf(n // 2, n, k / n), 1 - tail)
    ordered = np.sort(values)
    return ordered[low], ordered[high]


def pareto_front(table: pd.DataFrame, costs: list[str]) -> pd.Series:
    """Which rows no other row beats by costing no more in all of `costs` and less in one; equal rows both stay."""
    values = table[costs].to_numpy(dtype="float64")
    no_worse = (values[:, None] <= values).all(axis=2)
    better = (values[:, None] < values).any(axis=2)
    return pd.Series(~(no_worse & better).any(axis=0), index=table.index)


def accuracy_summary(training: pd.DataFrame) -> pd.DataFrame:
    """How well each variant has learnt after its last epoch, over seeds, a row a configuration and variant.

    New columns: `seeds`, `epochs`, `test_accuracy` (mean over seeds), `test_accuracy_low` and
    `test_accuracy_high` (worst and best seed), and `largest_difference`: the largest absolute difference of
    any loss or accuracy to store-all's, over every epoch and seed. Checkpointing computes the same
    numbers, so it should be exactly 0.
    """
    curves = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    store_all = {f"store_all_{curve}": curve for curve in curves}
    table = _beside_store_all(training, on=[*COMPARED, "epoch"], **store_all)
    learnt, expected = table[curves].to_numpy(), table[list(store_all)].to_numpy()
    equal = (learnt == expected) | (np.isnan(learnt) & np.isnan(expected))  # what diverges differs from itself
    differences = np.abs(np.subtract(learnt, expected, where=~equal, out=np.zeros_like(learnt)))
    differences[np.isnan(differences)] = np.inf  # one has diverged, and the other has not
    table = table.assign(difference=differences.max(axis=1))
    by = [*(column for column in COMPARED if column != "seed"), *VARIANT]
    last = table[table["epoch"] == table.groupby(by, dropna=False)["epoch"].transform("max")]
    summary = last.groupby(by, dropna=False, sort=False).agg(
        seeds=("seed", "nunique"),
        epochs=("epoch", "max"),
        test_accuracy=("test_accuracy", "mean"),
        test_accuracy_low=("test_accuracy", "min"),
        test_accuracy_high=("test_accuracy", "max"),
    )
    largest = table.groupby(by, dropna=False)["difference"].max().rename("largest_difference")
    return summary.join(largest).reset_index()


def has_store_all(table: pd.DataFrame) -> pd.Series:
    """Whether the table has for each row the store-all row that it is compared with.

    Raises ValueError where it has none at all.
    """
    compared = pd.MultiIndex.from_frame(_store_all(table)[COMPARED])
    return pd.Series(pd.MultiIndex.from_frame(table[COMPARED]).isin(compared), index=table.index)


def _store_all(table: pd.DataFrame) -> pd.DataFrame:
    whole = table[(table["network"] == STORE_ALL) & table["micro_batch"].isna()]
    if whole.empty:
        raise ValueError(f'no finished store-all cell to compare with: add network = "{STORE_ALL}" to the grid')
    return whole[whole["step"] == whole["step"].min()]


def _beside_store_all(table: pd.DataFrame, *, on: list[str] = COMPARED, **columns: str) -> pd.DataFrame:
    """Add columns (new name = old name) of the store-all row that agrees in `on`, missing where there is none.

    It is that of the whole batch, by `backward` if the table has any such, so that no ratio is to another step.
    """
    store_all = _store_all(table)[[*on, *columns.values()]]
    store_all = store_all.rename(columns={old: new for new, old in columns.items()})
    return table.merge(store_all, on=on, how="left", validate="many_to_one")
