"""The figures of trainings show every loss that is a number, and tell of the others."""

import numpy as np
import pytest

from harness.plots.draw import recipe
from tests.support.figures import drawn_texts, overlaps, words
from tests.support.tables import Tables


def test_losses_that_are_no_numbers_are_told(tables: Tables):
    training = tables["training"].copy()
    late = (training["layers"] == training["layers"].iloc[0]) & (training["seed"] == 1) & (training["epoch"] > 6)
    training.loc[late, ["train_loss", "test_loss"]] = np.nan
    of = f"in {training.loc[late, 'cell_id'].nunique()} of {training['cell_id'].nunique()} trainings"
    told = f"Not drawn, and not in the medians: losses that are zero or not finite, {of}."
    assert told in words(recipe("training_curves")({"training": training}))
    assert "Not drawn" not in words(recipe("training_time")({"training": training}))
    assert "Not drawn" not in words(recipe("training_curves")(tables))


def test_training_curves_say_whether_they_coincide(tables: Tables):
    assert "equals store-all's exactly" in words(recipe("training_curves")(tables))
    training = tables["training"].copy()
    training.loc[training.index[-1], "test_loss"] += 0.25
    assert "stays within 0.25 of store-all's" in words(recipe("training_curves")({"training": training}))


DIVERGED = {
    "one seed from an epoch on": lambda rows: (rows["seed"] == 1) & (rows["epoch"] > 4),
    "all from an epoch on": lambda rows: rows["epoch"] > 4,
    "one network": lambda rows: rows["depth"] == 3,
    "all but one epoch": lambda rows: rows["epoch"] != 2,
    "all": lambda rows: rows["epoch"] > 0,
}


@pytest.mark.parametrize(
    ("name", "loss"), [*((name, np.nan) for name in DIVERGED), ("all", 0.0), ("all from an epoch on", np.inf)]
)
def test_training_curves_draw_what_is_finite(tables: Tables, name: str, loss: float, monkeypatch: pytest.MonkeyPatch):
    """And say in the caption what they leave out."""
    training = tables["training"].copy()
    spoilt = DIVERGED[name](training)
    training.loc[spoilt, ["train_loss", "test_loss"]] = loss
    figure = recipe("training_curves")({"training": training})
    networks = training["layers"].nunique()
    for ax, (_, rows) in zip(figure.axes[:networks], training.groupby("depth"), strict=False):
        drawn = [y for line in ax.lines for y in line.get_ydata() if not np.isnan(y)]
        kept = rows[~spoilt.loc[rows.index]]
        shown = kept.groupby(["network", "checkpoint_frequency", "epoch"], dropna=False).ngroups
        assert len(drawn) == 2 * shown
        assert all(kept["train_loss"].min() <= y <= kept["test_loss"].max() for y in drawn)
    cells, of_all = training.loc[spoilt, "cell_id"].nunique(), training["cell_id"].nunique()
    assert f"losses that are zero or not finite, in {cells} of {of_all} trainings." in words(figure)
    assert "equals store-all's exactly" in words(figure)
    assert overlaps(drawn_texts(figure, monkeypatch)) == []


def test_training_curves_leave_nothing_out_where_all_is_finite(tables: Tables):
    assert "Not drawn" not in words(recipe("training_curves")(tables))


def test_training_curves_say_where_one_diverged_and_the_other_did_not(tables: Tables):
    training = tables["training"].copy()
    training.loc[training.index[-1], "test_loss"] = np.nan
    shown = words(recipe("training_curves")({"training": training}))
    assert "The lines do not coincide. A training diverged with checkpointing" in shown
    assert "The lines coincide" not in shown


def test_training_curves_show_every_variant_where_all_coincide(tables: Tables):
    axes = recipe("training_curves")(tables).axes[0]
    band, *thin = (line for line in axes.lines if line.get_ydata()[0] == axes.lines[0].get_ydata()[0])
    assert all(band.get_linewidth() > line.get_linewidth() for line in thin)
    assert [line.get_markevery() for line in thin] == [(0, 2), (1, 2)]  # markers take turns


def test_training_time_pools_epochs_and_seeds(tables: Tables):
    figure = recipe("training_time")(tables)
    assert "median of 36 ratios" in words(figure)  # 12 epochs, 3 seeds
    assert [ax.get_title() for ax in figure.axes] == ["narrowing, 3 layers", "equal, 8 layers", "equal, 16 layers"]
