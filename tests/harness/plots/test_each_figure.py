"""Each figure of memory and time shows the numbers of its tables."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from harness.plots.draw import recipe
from tests.support.figures import words
from tests.support.tables import (
    DEPTHS,
    Tables,
    grid,
    memory_table,
    time_table,
)


def test_peak_by_depth_shows_measured_points_on_predicted_lines(tables: Tables):
    axes = recipe("peak_by_depth")(tables).axes[0]
    cell = tables["memory"].query("depth == 128 and checkpoint_frequency == 8").iloc[0]
    points = np.concatenate([line.get_xydata() for line in axes.lines if line.get_linestyle() == "None"])
    lines = np.concatenate([line.get_xydata() for line in axes.lines if line.get_linestyle() != "None"])
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
    assert axes.get_title() == "8 layers"
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
    assert "The largest difference is 1024.0 KiB" in words(figure)
    low, high = figure.axes[1].get_ylim()
    assert low < -1024 < 1024 < high


def test_where_it_saves_says_what_could_be_saved_and_what_fills_the_peak(batch_by_width: Tables):
    figure = recipe("where_it_saves")(batch_by_width)
    titles = [ax.get_title() for ax in figure.axes[:6]]
    assert titles[:3] == ["any schedule saves at most", "n = 2 saves", "n = 6 saves"]
    assert titles[3:] == [f"{variant}:\nfills the peak" for variant in ("store-all", "n = 2", "n = 6")]
    narrow, wide = (figure.axes[3].texts[i].get_text() for i in (0, -1))  # batch 4096, width 64; batch 64, width 1024
    assert (narrow[0], wide[0]) == ("A", "W")


def test_schedules_stand_beside_both_ways_to_recompute():
    cells = [
        cell
        for recompute in ("segment", "each")
        for cell in grid(DEPTHS[:2], frequencies=(2, 4), schedules=["sqrt()"], recompute=recompute)
    ]
    figure = recipe("saving_heatmap")({"memory": memory_table(list(dict.fromkeys(cells)))})
    shown = {label.get_text() for label in figure.axes[0].get_xticklabels()}
    assert shown == {"n = 2", "n = 4", "n = 2, each", "n = 4, each", "sqrt"}
