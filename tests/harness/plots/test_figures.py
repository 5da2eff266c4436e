"""Every figure draws from tables such as the harness writes, says what it lacks, and no text lies on another."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.commands.figures import save
from harness.experiment.figures import FIGURES
from harness.experiment.frameworks import FRAMEWORKS, OWN, PEERS
from harness.plots import frameworks
from harness.plots.draw import draw, recipe
from harness.plots.looks import BLUE, GREEN, GREY, INK, KIND_LOOKS, ORANGE, RED, SHADE, STRANGE_LOOKS, palette
from harness.plots.recipes import Layout
from harness.plots.style import Octaves
from tests.support.figures import drawn_texts, overlaps, rgba, words
from tests.support.tables import (
    DEPTHS,
    Tables,
    framework_tables,
    grid,
    memory_table,
    time_table,
)


def test_an_experiment_may_name_exactly_the_figures_there_are():
    assert [recipe(name).name for name in FIGURES] == list(FIGURES)


COLUMN_OF_A_PAPER = Layout(width_inches=89 / 25.4)


@pytest.mark.parametrize("layout", [Layout(), COLUMN_OF_A_PAPER], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_another_or_outside(name: str, layout: Layout, tables_of, monkeypatch: pytest.MonkeyPatch):
    figure = recipe(name)(tables_of(name), layout)
    drawn = drawn_texts(figure, monkeypatch)
    sheet = figure.bbox.padded(1)
    assert len(drawn) > 10
    assert [
        text
        for text, box in drawn
        if not (sheet.x0 <= box.x0 and sheet.y0 <= box.y0 and box.x1 <= sheet.x1 and box.y1 <= sheet.y1)
    ] == []
    assert overlaps(drawn) == []
    assert figure.get_figwidth() == layout.width_inches
    assert min(text.get_size() for text in figure.findobj(Text) if text.get_text()) >= 6  # points of type


def test_a_page_may_go_without_title_and_caption(tables: Tables):
    for width in (89 / 25.4, 8.4):
        figure = recipe("pareto_work")(tables, Layout(width_inches=width, title=False, caption=False))
        assert figure.get_suptitle().strip() == figure.get_supxlabel() == ""


def contrast(colour: Any) -> float:
    """To white, by WCAG 2.2."""
    parts = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(colour)]
    return 1.05 / (float(np.dot([0.2126, 0.7152, 0.0722], parts)) + 0.05)


def test_every_line_and_marker_shows_on_white():
    variants = pd.Series(pd.Categorical(["store-all", *(f"n = {n}" for n in range(1, 13))]), name="variant")
    colours = [
        *(colour for colour, _ in (*KIND_LOOKS.values(), *STRANGE_LOOKS)),
        *palette(variants).values(),
        *frameworks.COLOURS.values(),
        *(look["color"] for look in frameworks.ALLOCATOR_LOOKS.values()),
        *(INK, GREY, SHADE, BLUE, ORANGE, GREEN, RED),
    ]
    assert contrast("white") == 1
    assert [colour for colour in colours if contrast(colour) < 3] == []


@pytest.mark.parametrize(("low", "high"), [(1.4, 3.1), (2.3, 3.8), (30, 34), (31.5, 31.9), (1, 1000), (0.01, 4000)])
def test_a_log_axis_has_at_least_three_ticks_and_at_most_ten(low: float, high: float):
    ticks = [tick for tick in Octaves().tick_values(low, high) if low <= tick <= high]
    assert 3 <= len(ticks) <= 10


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
    first = given[FIGURES[name].needs[0]]
    compared_with = ("network", "Network") if "network" in first else ("variant", "plain")
    ids = first.loc[first[compared_with[0]] != compared_with[1], "cell_id"].unique()[-3:]
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
    with pytest.raises(ValueError, match=r"several networks at 4 layers, .*: \[64,128x3,10\] and \[64,128,64x2,10\]"):
        recipe(name)({"memory": memory})


def test_every_framework_and_its_variants_have_a_look():
    assert frameworks.COLOURS.keys() == {OWN, *FRAMEWORKS}
    assert frameworks.SHAPES.keys() >= {peer.partition(".")[2] for peer in PEERS}
    assert frameworks.SCHEDULE_SHAPE not in frameworks.SHAPES.values()
