"""Analysis of training tables: accuracy over seeds. All rows must be of finished cells."""

import numpy as np
import pandas as pd

from harness.analysis.baseline import COMPARED, _beside_store_all
from harness.analysis.variants import VARIANT


def accuracy_summary(training: pd.DataFrame) -> pd.DataFrame:
    """The accuracy after the last epoch, over seeds: a row for each configuration and variant.

    New columns: `seeds`, `epochs`, `test_accuracy` (mean over seeds), `test_accuracy_low` and `test_accuracy_high`
    (worst and best seed), and `largest_difference`: the largest absolute difference of any loss or accuracy from
    store-all's, over every epoch and seed. It should be exactly 0, because checkpointing computes the same numbers.
    """
    curves = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    store_all = {f"store_all_{curve}": curve for curve in curves}
    table = _beside_store_all(training, on=[*COMPARED, "epoch"], **store_all)
    learnt, expected = table[curves].to_numpy(), table[list(store_all)].to_numpy()
    equal = (learnt == expected) | (np.isnan(learnt) & np.isnan(expected))  # nan is not equal to itself
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
