"""The figures of schedules show the numbers of the tables they are drawn from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from harness.analysis.variants import SCHEDULE_KINDS, VARIANT_KINDS, name_variants
from harness.experiment.cell import Cell
from harness.plots.draw import recipe
from harness.plots.looks import KIND_LOOKS, STRANGE_LOOKS, with_defaults
from tests.support.tables import CHAINS, grid, memory_table, schedule_cells, time_table

MIB = 2**20
EQUAL = CHAINS[0]


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    cells = [cell for cell in schedule_cells() if cell.layers == EQUAL]
    return {"memory": memory_table(cells), "time": time_table(cells)}


def points(figure: Figure) -> dict[tuple[float, float], float]:
    """Each point of the first panel and its size."""
    lines = (line for line in figure.axes[0].lines if len(line.get_xdata()) == 1)
    return {tuple(line.get_xydata()[0]): line.get_markersize() for line in lines}


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def measured(memory: pd.DataFrame) -> pd.DataFrame:
    """The places of the cells in the front of peak against work, by hand."""
    store_all = memory.query("network == 'Network'").iloc[0]
    return pd.DataFrame({
        "x": memory["forward_flops"] / store_all["forward_flops"],
        "y": memory["memray_peak_bytes"] / store_all["memray_peak_bytes"],
    })  # fmt: skip


def test_pareto_work_has_a_point_for_each_cell_small_where_another_beats_it(tables):
    drawn = points(recipe("pareto_work")(tables))
    places = measured(tables["memory"])
    for x, y in places.to_numpy():
        beaten = ((places["x"] <= x) & (places["y"] <= y) & ((places["x"] < x) | (places["y"] < y))).any()
        size = next(size for place, size in drawn.items() if place == pytest.approx((x, y)))
        assert (size < 4) == beaten


def in_parts() -> list[Cell]:
    """Store-all beside the same step with the batch in parts."""
    (plain,) = grid([EQUAL], frequencies=())
    return [plain, *(replace(plain, step="train_step", micro_batch=rows) for rows in (512, 1024))]


def test_pareto_work_shows_the_batch_in_parts_apart_against_its_time():
    cells = in_parts()
    memory, time = memory_table(cells), time_table(cells)
    time["step_seconds"] = time["micro_batch"].map({512: 2.0, 1024: 1.5}).astype("float64").fillna(1.0)
    figure = recipe("pareto_work")({"memory": memory, "time": time})
    _, apart = figure.axes
    assert len(points(figure)) == 1  # store-all alone
    assert apart.get_title() == "micro-batch: time, not work"
    peaks = memory.set_index("micro_batch")["memray_peak_bytes"] / memory["memray_peak_bytes"][0]
    (line,) = apart.lines
    assert line.get_xydata().tolist() == pytest.approx(np.array([[1.5, peaks[1024]], [2.0, peaks[512]]]))
    assert "Micro-batch recomputes nothing, but costs time: 2.0 times store-all's" in caption(figure)
    alone = recipe("pareto_work")({"memory": memory})
    assert len(alone.axes) == 1
    assert "It costs time, which was not measured" in caption(alone)


def test_no_point_of_pareto_work_is_below_the_optimal_curve(tables):
    axes = recipe("pareto_work")(tables).axes[0]
    curve = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    work, peak = curve.get_data()
    assert work[0] == peak[0] == 1
    for x, y in measured(tables["memory"]).to_numpy():
        assert y >= peak[np.searchsorted(work, x, side="right") - 1] - 0.01  # peaks are measured, the curve predicted


def test_pareto_time_draws_each_median_and_the_front(tables):
    axes = recipe("pareto_time")(tables).axes[0]
    times = tables["time"].assign(name=name_variants(tables["time"])["variant"])
    times = times.pivot(index="repeat", columns="name", values="step_seconds")
    medians = sorted(times.div(times["store-all"], axis=0).median())
    assert sorted(bar.lines[0].get_xdata()[0] for bar in axes.containers) == pytest.approx(medians)
    front, optimal = (line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert (np.diff(front.get_xdata()) > 0).all()
    assert (np.diff(front.get_ydata()) < 0).all()
    assert optimal.get_linestyle() == "--"


def test_each_kind_has_a_colour_and_a_marker_of_its_own_in_every_figure(tables):
    looks = {}
    for name in ("pareto_work", "pareto_time", "growth", "predicted_vs_measured"):
        for line in recipe(name)(tables).findobj(Legend)[0].get_lines():
            if line.get_label() in SCHEDULE_KINDS:
                look = to_hex(line.get_color()), line.get_marker()
                assert looks.setdefault(line.get_label(), look) == look
    assert set(looks) == {"store-all", "periodic", "sqrt", "greedy", "revolve", "evicting lru", "optimal"}
    colours, shapes = zip(*looks.values(), strict=True)
    assert len(set(colours)) == len(set(shapes)) == len(looks)


def test_what_has_no_look_gets_one_that_no_other_name_has():
    names = ["optimal", *(f"strange {number}" for number in range(40))]
    looks = with_defaults(KIND_LOOKS, names, STRANGE_LOOKS)
    assert looks["optimal"] == KIND_LOOKS["optimal"]
    seen = [(to_hex(colour), marker) for colour, marker in looks.values()]
    assert len(set(seen)) == len(seen)
    first = seen[: len(KIND_LOOKS) + 5]
    assert len({colour for colour, _ in first}) == len({marker for _, marker in first}) == len(first)


def test_every_kind_has_a_look():
    assert KIND_LOOKS.keys() == set(VARIANT_KINDS)


def test_winners_writes_the_best_of_each_kind_and_marks_the_least_work():
    texts = ["revolve(slots=3)", "optimal(budget_bytes=9000000)"]
    cells = grid([EQUAL], frequencies=(2, 6), schedules=texts)
    memory = memory_table(cells)
    memory["predicted_peak_bytes"] = [20_000_000, 9_000_000, 8_000_000, 9_000_001, 7_000_000]
    store_all = memory["forward_flops"][0]
    memory["forward_flops"] = [store_all, int(1.6 * store_all), int(1.7 * store_all), store_all, int(1.25 * store_all)]
    time = time_table(cells)
    time["step_seconds"] = np.where(time["schedule"] == texts[1], 1.5, 1.0)
    axes = recipe("winners")({"memory": memory, "time": time}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "budget\n(MiB)",
        "of the\npeak",
        "periodic",
        "optimal",
        "winner's\ntime",
    ]
    cells = [text for text in axes.texts if text.get_text()]
    assert [text.get_text() for text in cells] == ["8.58", "44%", "1.25", "1.60", "1.50  (1.50 to 1.50)"]
    assert [text.get_weight() for text in cells] == ["normal", "normal", "bold", "normal", "normal"]


def test_winners_that_were_not_timed_have_no_time(tables):
    timed = tables["time"].query("schedule.isna() or schedule.str.startswith('revolve')")
    texts = [text.get_text() for text in recipe("winners")(tables | {"time": timed}).axes[0].texts]
    assert not any("to" in text for text in texts)


def test_growth_has_lines_to_a_thousand_layers_and_points_at_the_cells(tables):
    figure = recipe("growth")(tables)
    peaks = figure.axes[1]
    store_all = tables["memory"].query("network == 'Network'").iloc[0]
    dots = {tuple(place) for line in peaks.lines if line.get_marker() != "None" for place in line.get_xydata()}
    assert (20, store_all["memray_peak_bytes"] / MIB) in dots
    assert len(dots) == 2  # store-all and sqrt: log2 of 20 layers are 5 slots, which no cell has
    assert max(line.get_xdata()[-1] for line in peaks.lines if len(line.get_xdata())) == 1000
    assert "All with width 64, batch 4096, float32." in caption(figure)


def test_predicted_vs_measured_names_kinds_where_there_are_schedules(tables):
    legend = [line.get_label() for line in recipe("predicted_vs_measured")(tables).legends[0].get_lines()]
    assert legend[:3] == ["store-all", "periodic", "sqrt"]
    plain = memory_table(grid([EQUAL], frequencies=(2,)))
    legend = recipe("predicted_vs_measured")({"memory": plain}).legends[0].get_lines()
    assert [line.get_label() for line in legend][:2] == ["store-all", "n = 2"]


def test_long_layer_lists_are_broken_in_titles():
    layers = ",".join(map(str, [64, *range(100, 130), 10]))
    cells = grid([layers, EQUAL], batches=(64,), frequencies=(2,))
    titles = [ax.get_title() for ax in recipe("pareto_work")({"memory": memory_table(cells)}).axes]
    assert max(len(line) for title in titles for line in title.splitlines()) <= 56


def test_figures_of_budgets_and_depth_say_what_they_lack(tables):
    with pytest.raises(ValueError, match="no budget to compare within"):
        recipe("winners")({name: table.query("schedule.isna()") for name, table in tables.items()})
    with pytest.raises(ValueError, match="no network of equal hidden layers"):
        recipe("growth")({"memory": memory_table(grid(["64,32,16,10"], frequencies=(2,)))})


def test_growth_names_the_kinds_that_no_cell_measured():
    slots = {8: 3, 16: 4}
    cells = [
        cell
        for depth, count in slots.items()
        for cell in grid(
            [f"64x{depth},10"],
            frequencies=(),
            schedules=[f"revolve(slots={count})", f"optimal(budget_of='revolve(slots={count})')"],
        )
    ]
    assert "No point, because no cell has that step: sqrt at 8, 16 layers." in _caption(cells)
    missed = [cell for cell in cells if not (cell.depth == 16 and cell.schedule and "optimal" in cell.schedule)]
    assert "that step: sqrt at 8, 16 layers; optimal at 16 layers." in _caption(missed)
    with_sqrt = [*cells, *(grid([f"64x{depth},10"], frequencies=(), schedules=["sqrt()"])[1] for depth in slots)]
    assert "No point" not in _caption(with_sqrt)


def _caption(cells: list[Cell]) -> str:
    return " ".join(recipe("growth")({"memory": memory_table(cells)}).get_supxlabel().split())
