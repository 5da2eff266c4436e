"""Every figure draws from tables such as the harness writes, shows their numbers, and no text lies on another."""

from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.commands.figures import save
from harness.experiment.figures import FIGURES
from harness.experiment.frameworks import FRAMEWORKS, OWN, PEERS
from harness.plots import draw, frameworks, recipe
from tests.support.tables import (
    framework_tables,
    grid,
    memory_table,
    schedule_cells,
    time_table,
    timeline_table,
    training_table,
)

Tables = dict[str, pd.DataFrame]

DEPTHS = [f"64,128x{depth - 1},10" for depth in (8, 16, 32, 64, 128)]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return {
        "memory": memory_table(grid(DEPTHS)),
        "time": time_table(grid(DEPTHS)),
        "timeline": timeline_table(grid(DEPTHS[2:3])),
        "training": training_table(
            grid(["64,128,64,10", "64,128x7,10", "64,64x15,10"], batches=(64,), frequencies=(2, 4), seeds=3)
        ),
    }


@pytest.fixture(scope="module")
def batch_by_width() -> Tables:
    layers = [f"64,{width}x31,10" for width in (64, 128, 256, 512, 1024)]
    return {"memory": memory_table(grid(layers, batches=(64, 256, 1024, 4096), frequencies=(2, 6)))}


@pytest.fixture(scope="module")
def schedules() -> Tables:
    return {"memory": memory_table(schedule_cells()), "time": time_table(schedule_cells())}


@pytest.fixture
def tables_of(tables: Tables, batch_by_width: Tables, schedules: Tables):
    special = dict.fromkeys(("pareto_work", "pareto_time", "winners", "growth"), schedules)
    special |= dict.fromkeys(("resident_peak", "peers_tradeoff", "peers_saving", "peers_resident"), framework_tables())
    return lambda name: (special | {"where_it_saves": batch_by_width}).get(name, tables)


def drawn_texts(figure: Figure, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Each text as it lands on the canvas, with its box: what is hidden or out of view is not drawn."""
    drawn = []

    def record(text: Text, renderer: Any, original: Any = Text.draw) -> None:
        original(text, renderer)
        if text.get_visible() and text.get_text():
            drawn.append((text.get_text(), text.get_window_extent(renderer)))

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        FigureCanvasAgg(figure).draw()
    return drawn


def overlaps(drawn: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    return [(a, b) for (a, one), (b, other) in combinations(drawn, 2) if one.padded(-1).overlaps(other.padded(-1))]


def words(figure: Figure) -> str:
    """All words of a figure in one line, as a caption may break anywhere."""
    return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())


def rgba(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


# All figures


def test_an_experiment_may_name_exactly_the_figures_there_are():
    assert [recipe(name).name for name in FIGURES] == list(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_another_or_outside(name: str, tables_of, monkeypatch: pytest.MonkeyPatch):
    figure = recipe(name)(tables_of(name))
    drawn = drawn_texts(figure, monkeypatch)
    page = figure.bbox.padded(1)
    assert len(drawn) > 10
    assert [
        text
        for text, box in drawn
        if not (page.x0 <= box.x0 and page.y0 <= box.y0 and box.x1 <= page.x1 and box.y1 <= page.y1)
    ] == []
    assert overlaps(drawn) == []


@pytest.mark.parametrize("name", FIGURES)
def test_drawing_leaves_the_tables_and_the_callers_matplotlib_alone(name: str, tables_of):
    given = tables_of(name)
    copies = {key: value.copy() for key, value in given.items()}
    settings = dict(mpl.rcParams)
    recipe(name)(given)
    for key, value in given.items():
        pd.testing.assert_frame_equal(value, copies[key])
    assert dict(mpl.rcParams) == settings
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("name", ["time_ratio", "saving_heatmap"])
def test_the_look_does_not_depend_on_the_callers_settings(name: str, tables: Tables):
    figure = recipe(name)(tables)
    plain = rgba(recipe(name)(tables))
    with mpl.rc_context({"axes.facecolor": "black", "xtick.labelsize": 30, "font.size": 30, "grid.linewidth": 9}):
        assert np.array_equal(rgba(figure), plain)


def test_draw_gives_the_named_figures_in_order(tables: Tables):
    drawn = list(draw(tables, ["timeline", "peak_by_depth"]))
    assert [name for name, _ in drawn] == ["timeline", "peak_by_depth"]
    assert all(isinstance(figure, Figure) for _, figure in drawn)


def test_an_unknown_figure_is_refused_before_anything_is_drawn(tables: Tables):
    with pytest.raises(ValueError, match="unknown figure 'peaks', there are: peak_by_depth, "):
        draw(tables, ["timeline", "peaks"])


def test_a_missing_table_is_named_with_the_way_out(tables: Tables):
    only_memory = {"memory": tables["memory"]}
    with pytest.raises(ValueError, match=r"^figure tradeoff needs time\.csv: add 'time' to the experiment's measure$"):
        draw(only_memory, ["peak_by_depth", "tradeoff"])


def test_a_table_of_failed_cells_alone_is_refused(tables: Tables):
    with pytest.raises(ValueError, match=r"no row of memory\.csv has status ok"):
        draw({"memory": tables["memory"].assign(status="failed")}, ["peak_by_depth"])


@pytest.mark.parametrize("name", ["saving_heatmap", "tradeoff", "training_time", "training_curves"])
def test_a_comparison_needs_store_all(name: str, tables: Tables):
    without = {key: value.query("network != 'Network'") for key, value in tables.items()}
    with pytest.raises(ValueError, match='no finished store-all cell to compare with: add network = "Network"'):
        recipe(name)(without)


def test_failed_cells_are_left_out_and_counted(tables: Tables):
    memory = tables["memory"].copy()
    memory.loc[memory["depth"] == 64, "status"] = "failed"
    memory.loc[memory["depth"] == 64, "memray_peak_bytes"] = 10**12
    figure = recipe("peak_by_depth")({"memory": memory})
    assert "Not shown: 6 cells (6 failed)." in words(figure)
    assert max(y for line in figure.axes[0].lines for y in line.get_ydata()) < 1000


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_how_many_cells_it_lacks_and_why(name: str, tables_of):
    """Three cells of the first configuration that has as many: one failed, one out of time and one never started."""
    given = {need: tables_of(name)[need].copy() for need in FIGURES[name].needs}
    ids = given[FIGURES[name].needs[0]].query("network != 'Network'")["cell_id"].unique()[-3:]
    for table in given.values():
        for cell, status in zip(ids, ("failed", "timeout", "skipped_too_large"), strict=False):
            table.loc[table["cell_id"] == cell, "status"] = status
    told = ["1 failed", "1 timeout", "1 skipped_too_large"][: len(ids)]
    assert f"Not shown: {len(ids)} cells ({', '.join(told)})." in words(recipe(name)(given))


@pytest.mark.parametrize("name", ["saving_heatmap", "tradeoff", "time_ratio", "pareto_work", "training_curves"])
def test_cells_without_the_store_all_they_are_compared_with_are_counted(name: str, tables_of):
    given = {need: tables_of(name)[need].copy() for need in FIGURES[name].needs}
    (first, *_), others = given[FIGURES[name].needs[0]]["layers"].unique(), 0
    for table in given.values():
        table.loc[(table["layers"] == first) & (table["network"] == "Network"), "status"] = "failed"
        others = table.query("layers == @first and network != 'Network'")["cell_id"].nunique()
        failed = table.query("status == 'failed'")["cell_id"].nunique()
    said = words(recipe(name)(given))
    assert f"Not shown: {failed + others} cells ({failed} failed, {others} with nothing to compare with)." in said


def test_variants_without_their_frameworks_plain_step_are_counted():
    memory = framework_tables()["peers_memory"]
    memory.loc[memory["variant"] == "store-all", "status"] = "timeout"
    plain = (memory["framework"] == "torch") & (memory["variant"] == "store-all")
    memory.loc[~plain, "status"] = "ok"
    said = words(recipe("peers_saving")({"peers_memory": memory}))
    assert "Not shown: 4 cells (2 timeout, 2 with nothing to compare with)." in said


def test_losses_that_are_no_numbers_are_told(tables: Tables):
    training = tables["training"].copy()
    late = (training["layers"] == training["layers"].iloc[0]) & (training["seed"] == 1) & (training["epoch"] > 6)
    training.loc[late, ["train_loss", "test_loss"]] = np.nan
    of = f"of {training.loc[late, 'cell_id'].nunique()} of {training['cell_id'].nunique()} trainings"
    told = f"Not drawn, and in no median: losses that are zero or no finite number, {of}."
    assert told in words(recipe("training_curves")({"training": training}))
    assert "Not drawn" not in words(recipe("training_time")({"training": training}))
    assert "Not drawn" not in words(recipe("training_curves")(tables))


def test_a_name_is_drawn_as_it_stands_without_control_characters(tmp_path: Path):
    memory = framework_tables()["peers_memory"]
    memory["variant"] = memory["variant"].replace("store-all", "a$^2$\x1b[31m")
    resident = framework_tables()["resident"].merge(memory[["cell_id", "variant"]], on="cell_id", suffixes=("_", ""))
    figure = recipe("peers_resident")({"peers_memory": memory, "resident": resident})
    save(figure, tmp_path / "figure.svg")
    assert "torch a$^2$�[31m" in words(figure)
    ElementTree.parse(tmp_path / "figure.svg")


def test_a_figure_that_lacks_nothing_says_nothing_of_it(tables: Tables):
    for name in ("peak_by_depth", "tradeoff", "training_curves"):
        assert "Not " not in words(recipe(name)(tables))


def test_what_varies_beside_the_axes_gets_a_panel_of_its_own():
    figure = recipe("peak_by_depth")({"memory": memory_table(grid(DEPTHS[:2], batches=(256, 4096)))})
    assert [ax.get_title() for ax in figure.axes] == ["batch 256", "batch 4096"]
    assert "All with width 128, float32, relu, seed 0." in words(figure)


@pytest.mark.parametrize("name", ["peak_by_depth", "saving_heatmap", "time_ratio", "tradeoff"])
def test_schedules_may_stand_beside_frequencies(name: str, monkeypatch: pytest.MonkeyPatch):
    cells = grid(DEPTHS[:3], schedules=["sqrt()", "revolve(slots=4)"])
    figure = recipe(name)({"memory": memory_table(cells), "time": time_table(cells)})
    assert ("revolve, 4 slots" in words(figure)) == (name != "time_ratio")  # whose axis is the frequency
    assert overlaps(drawn_texts(figure, monkeypatch)) == []


@pytest.mark.parametrize("name", ["time_ratio", "saving_heatmap"])
def test_figures_that_compare_say_so_where_there_is_nothing_to_compare(name: str):
    cells = grid(DEPTHS[:2], frequencies=())
    with pytest.raises(
        ValueError, match="no finished cell to show beside store-all: add checkpoint_frequency to the grid"
    ):
        recipe(name)({"memory": memory_table(cells), "time": time_table(cells)})


@pytest.mark.parametrize("name", ["peak_by_depth", "saving_heatmap"])
def test_networks_that_would_share_a_place_are_refused(name: str):
    memory = memory_table(grid(["64,128x3,10", "64,128,64x2,10"], frequencies=(2,)))
    with pytest.raises(ValueError, match=r"several networks at depth 4, .*: \[64,128x3,10\] and \[64,128,64x2,10\]"):
        recipe(name)({"memory": memory})


# One by one


def test_peak_by_depth_shows_measured_points_on_predicted_lines(tables: Tables):
    axes = recipe("peak_by_depth")(tables).axes[0]
    cell = tables["memory"].query("depth == 128 and checkpoint_frequency == 8").iloc[0]
    points = np.concatenate([points.get_offsets() for points in axes.collections])
    lines = np.concatenate([line.get_xydata() for line in axes.lines if len(line.get_xdata())])
    assert (128, cell["memray_peak_bytes"] / 2**20) in set(map(tuple, points))
    assert (128, cell["predicted_peak_bytes"] / 2**20) in set(map(tuple, lines))
    assert len(points) == len(tables["memory"])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_variants_differ_in_colour_and_in_marker(tables: Tables):
    legend = recipe("peak_by_depth")(tables).legends[0].get_lines()
    assert [line.get_label() for line in legend] == ["store-all", "n = 1", "n = 2", "n = 4", "n = 8", "n = 16"]
    assert len({line.get_marker() for line in legend}) == len({to_hex(line.get_color()) for line in legend}) == 6


def test_saving_heatmap_writes_each_saving_and_outlines_the_best(tables: Tables):
    memory = tables["memory"].query("depth == 128").copy()
    memory["memray_peak_bytes"] = [1_000_000, 1_000_100, 510_000, 270_000, 180_000, 185_000]  # store-all, n = 1, ..
    axes = recipe("saving_heatmap")({"memory": memory}).axes[0]
    assert [text.get_text() for text in axes.texts] == ["0%", "49%", "73%", "82%", "82%"]  # nor -0%
    assert axes.patches[0].get_xy() == (3, 0)


def test_saving_heatmap_orders_frequencies_however_the_experiment_lists_them():
    figure = recipe("saving_heatmap")({"memory": memory_table(grid(DEPTHS[:2], frequencies=(16, 2, 8)))})
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["n = 2", "n = 8", "n = 16"]


def test_time_ratio_draws_each_median_and_its_interval(tables: Tables):
    time = (
        tables["time"].query("depth == 8").pivot(index="repeat", columns="checkpoint_frequency", values="step_seconds")
    )
    ratios = np.sort(time[4] / time[pd.NA])
    axes = recipe("time_ratio")(tables).axes[0]
    assert axes.get_title() == "depth 8"
    bars = {int(bar.lines[0].get_xdata()[0]): bar for bar in axes.containers}
    assert bars[4].lines[0].get_ydata()[0] == pytest.approx(np.median(ratios))
    ends = bars[4].lines[2][0].get_segments()[0][:, 1]
    assert ends == pytest.approx((ratios[3], ratios[11]))  # the fourth and the twelfth of 15


def test_unsteady_times_are_hollow_and_explained(tables: Tables):
    time = tables["time"].copy()
    noisy = (time["checkpoint_frequency"] == 4) & (time["depth"] == 8) & (time["repeat"] % 2 == 0)
    time.loc[noisy, "step_seconds"] *= 1.5
    figure = recipe("time_ratio")(tables | {"time": time})
    fills = {int(bar.lines[0].get_xdata()[0]): bar.lines[0].get_markerfacecolor() for bar in figure.axes[0].containers}
    assert [n for n, fill in fills.items() if fill == "white"] == [4]
    assert "Hollow: unsteady (spread of 10 % or more)." in words(figure)
    assert "unsteady" not in words(recipe("time_ratio")(tables))


def test_tradeoff_joins_the_variants_on_the_front(tables: Tables):
    cells = grid(["64,128x15,10"], frequencies=(2, 4, 16))
    time = time_table(cells, repeats=15)
    seconds = {2: 1.1, 4: 1.2, 16: 1.3}  # n = 16 is slower than n = 4 and needs more memory
    time["step_seconds"] = time["checkpoint_frequency"].map(seconds).astype("float64").fillna(1.0)
    figure = recipe("tradeoff")({"memory": memory_table(cells), "time": time})
    front = figure.axes[0].lines[0]
    assert front.get_xdata() == pytest.approx([1.0, 1.1, 1.2])


def test_timeline_draws_every_event_of_both_lines_and_shades_the_backward_pass(tables: Tables):
    axes = recipe("timeline")(tables).axes[0]
    events = tables["timeline"].query("network == 'Network'")
    memray, tracker = axes.lines
    assert axes.get_title() == f"store-all: peak {events['memray_live_bytes'].max() / 2**20:.1f} MiB"
    assert memray.get_ydata() == pytest.approx(events["memray_live_bytes"] / 2**20)
    assert tracker.get_ydata() == pytest.approx(events["live_bytes"] / 2**20)
    backward = events.query("phase == 'backward'")["event"]
    assert axes.patches[0].get_x() == backward.min()
    assert axes.patches[0].get_width() == backward.max() - backward.min()


def test_predicted_vs_measured_counts_the_cells_within_the_bound(tables: Tables):
    memory = tables["memory"].copy()
    memory.loc[3, "residual_bytes"] = 2**20
    figure = recipe("predicted_vs_measured")({"memory": memory})
    assert f"{len(memory) - 1} of {len(memory)} cells lie within the bound" in words(figure)
    assert "the largest residual is 1024.0 KiB" in words(figure)
    low, high = figure.axes[1].get_ylim()
    assert low < -1024 < 1024 < high


def test_where_it_saves_says_what_could_be_saved_and_what_fills_the_peak(batch_by_width: Tables):
    figure = recipe("where_it_saves")(batch_by_width)
    titles = [ax.get_title() for ax in figure.axes[:6]]
    assert titles[:3] == ["any schedule: at most", "n = 2: saved", "n = 6: saved"]
    assert titles[3:] == [f"{variant}:\nfills the peak" for variant in ("store-all", "n = 2", "n = 6")]
    narrow, wide = (figure.axes[3].texts[i].get_text() for i in (0, -1))  # batch 4096, width 64; batch 64, width 1024
    assert (narrow[0], wide[0]) == ("A", "P")


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
    assert f"losses that are zero or no finite number, of {cells} of {of_all} trainings." in words(figure)
    assert "equals store-all's exactly" in words(figure)
    assert overlaps(drawn_texts(figure, monkeypatch)) == []


def test_training_curves_leave_nothing_out_where_all_is_finite(tables: Tables):
    assert "Not drawn" not in words(recipe("training_curves")(tables))


def test_training_curves_say_where_one_diverged_and_the_other_did_not(tables: Tables):
    training = tables["training"].copy()
    training.loc[training.index[-1], "test_loss"] = np.nan
    shown = words(recipe("training_curves")({"training": training}))
    assert "The lines do not coincide: a training has diverged" in shown
    assert "The lines coincide" not in shown


def test_training_curves_show_every_variant_where_all_coincide(tables: Tables):
    axes = recipe("training_curves")(tables).axes[0]
    band, *thin = (line for line in axes.lines if line.get_ydata()[0] == axes.lines[0].get_ydata()[0])
    assert all(band.get_linewidth() > line.get_linewidth() for line in thin)
    assert [line.get_markevery() for line in thin] == [(0, 2), (1, 2)]  # markers take turns


def test_training_time_pools_epochs_and_seeds(tables: Tables):
    figure = recipe("training_time")(tables)
    assert "median of 36 ratios" in words(figure)  # 12 epochs, 3 seeds
    assert [ax.get_title() for ax in figure.axes] == ["[64,128,64,10]", "[64,128x7,10]", "[64,64x15,10]"]


def test_schedules_stand_beside_both_ways_to_recompute():
    cells = [
        cell
        for recompute in ("segment", "each")
        for cell in grid(DEPTHS[:2], frequencies=(2, 4), schedules=["sqrt()"], recompute=recompute)
    ]
    figure = recipe("saving_heatmap")({"memory": memory_table(list(dict.fromkeys(cells)))})
    shown = {label.get_text() for label in figure.axes[0].get_xticklabels()}
    assert shown == {"n = 2", "n = 4", "n = 2, each", "n = 4, each", "sqrt"}


def test_every_framework_and_its_variants_have_a_look():
    assert frameworks.COLOURS.keys() == {OWN, *FRAMEWORKS}
    assert frameworks.LABELS_AT.keys() >= {OWN, *FRAMEWORKS}
    assert frameworks.SHAPES.keys() >= {peer.partition(".")[2] for peer in PEERS}
    assert frameworks.SCHEDULE_SHAPE not in frameworks.SHAPES.values()
