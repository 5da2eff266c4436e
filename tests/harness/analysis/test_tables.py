"""Claims about the numbers drawn from the tables, each against values computed by hand or by another road."""

import csv
import math
from collections.abc import Iterable
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis import time as analysed
from harness.analysis.baseline import pareto_front
from harness.analysis.memory import dominant_kind, floor_bytes, residuals, savings, work_ratios
from harness.analysis.time import ENOUGH_PAIRS, median_interval, with_time_ratios
from harness.analysis.training import accuracy_summary
from harness.provenance import ROOT
from networks import dry_run
from networks.chain import Chain
from networks.layer_lists import parse_layers

CONFIGURATION = {
    "layers": "64,128x2,10", "chain": "", "depth": 3, "width": 128, "batch": 256,
    "dtype": "float32", "activation": "relu", "seed": 0,
}  # fmt: skip
STORE_ALL = {
    "network": "Network", "checkpoint_frequency": None, "recompute": None, "schedule": None,
    "step": "backward", "micro_batch": None,
}  # fmt: skip


COUNTS = ("checkpoint_frequency", "micro_batch", "forward_flops")


def checkpointed(frequency: int, recompute: str = "segment") -> dict[str, object]:
    return STORE_ALL | {
        "network": "NetworkWithCheckpointing", "checkpoint_frequency": frequency, "recompute": recompute
    }  # fmt: skip


def scheduled(schedule: str) -> dict[str, object]:
    return STORE_ALL | {"network": "NetworkWithCheckpointing", "schedule": schedule}


def table(*rows: dict[str, object]) -> pd.DataFrame:
    """Rows over the common configuration, with the types that a table read from a file has."""
    frame = pd.DataFrame([CONFIGURATION | row for row in rows])
    whole = [name for name in frame if name.endswith("_bytes") or name in COUNTS]
    text = [name for name in frame if name in ("recompute", "schedule")]
    return frame.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(text, "str"))


def times(ratios: list[float], *, frequency: int = 4, store_all: float = 2.0) -> pd.DataFrame:
    """A time table with one checkpointed variant whose paired ratios are these."""
    return table(
        *(STORE_ALL | {"repeat": i, "step_seconds": store_all} for i in range(len(ratios))),
        *(checkpointed(frequency) | {"repeat": i, "step_seconds": store_all * r} for i, r in enumerate(ratios)),
    )


def time_ratios(frame: pd.DataFrame) -> pd.DataFrame:
    return analysed.time_ratios(frame, seconds="step_seconds", pair_on=["repeat"])


# Memory


def peaks(peak: int, *, checkpoints: int, working: int, deltas: int, parameter_deltas: int, workspace: int) -> dict:
    kinds = (checkpoints, working, deltas, parameter_deltas, workspace)
    names = ("checkpoints", "working_afters", "deltas", "parameter_deltas", "workspace")
    return {
        "memray_peak_bytes": peak,
        "tracker_peak_bytes": sum(kinds),
        **{f"tracker_{name}_bytes": value for name, value in zip(names, kinds, strict=True)},
    }


MEMORY = (
    STORE_ALL | peaks(1_000, checkpoints=600, working=150, deltas=100, parameter_deltas=100, workspace=50),
    checkpointed(4) | peaks(400, checkpoints=100, working=100, deltas=50, parameter_deltas=110, workspace=40),
)


def test_savings_are_taken_from_store_all_of_the_same_configuration():
    other = {"batch": 512}
    saved = savings(
        table(
            *MEMORY,
            *(row | other | {"memray_peak_bytes": peak} for row, peak in zip(MEMORY, (3_000, 3_300), strict=True)),
        )
    )
    assert saved["store_all_peak_bytes"].tolist() == [1_000, 1_000, 3_000, 3_000]
    assert saved["saved_bytes"].tolist() == [0, 600, 0, -300]
    assert saved["saved_share"].tolist() == pytest.approx([0, 0.6, 0, -0.1])


def test_savings_of_train_steps_and_parts_are_taken_from_store_all_by_backward():
    train_step = MEMORY[0] | {"step": "train_step", "memray_peak_bytes": 800}
    parts = train_step | {"micro_batch": 64, "memray_peak_bytes": 250}
    saved = savings(table(parts, train_step, *MEMORY))
    assert saved["saved_bytes"].tolist() == [750, 200, 0, 600]


def test_where_one_store_all_by_backward_has_failed_none_by_train_step_stands_in_for_it():
    train_step = MEMORY[0] | {"step": "train_step", "memray_peak_bytes": 800}
    saved = savings(table(*MEMORY, train_step, train_step | {"batch": 512}, MEMORY[1] | {"batch": 512}))
    assert saved["saved_bytes"].isna().tolist() == [False, False, False, True, True]


def test_where_every_step_is_a_train_step_its_store_all_is_compared_with():
    rows = [row | {"step": "train_step"} for row in MEMORY]
    assert savings(table(*rows))["saved_bytes"].tolist() == [0, 600]


def test_savings_without_their_store_all_are_missing():
    saved = savings(table(*MEMORY, MEMORY[1] | {"width": 512}))
    assert saved["saved_share"].isna().tolist() == [False, False, True]


def test_the_floor_is_the_dearest_backward_step_alone():
    # [2, 3, 2], batch 5, 8 bytes; the outputs are 5 x 2 values all the time, the input is the caller's.
    # Layer 2: its parameter deltas 4 x 2, delta 5 x 2, after below 5 x 3: with the outputs 43 values.
    # Layer 1: all parameter deltas, 4 x 2 + 3 x 3, and delta 5 x 3: with the outputs 42 values.
    configuration = {"layers": "2,3,2", "batch": 5, "dtype": "float64"}
    floor = floor_bytes(table(STORE_ALL | configuration))
    workspace = Chain((2, 3, 2), 5, 8).workspace_bytes
    assert floor.tolist() == [8 * 43 + workspace]


PERIODIC = [{"checkpoint_frequency": n, "recompute": how} for n in (1, 2, 3, 5, 40) for how in ("segment", "each")]


@pytest.mark.parametrize("options", [{}, *PERIODIC], ids=str)
@pytest.mark.parametrize("layers", ["64,128x31,10", "8,512,16x9,256,3", "64,1024x8,10", "5,4"])
def test_no_step_peaks_below_the_floor(options: dict[str, object], layers: str):
    for batch in (1, 100, 5_000):
        step = dry_run(parse_layers(layers), batch=batch, **options)
        floor = floor_bytes(table(STORE_ALL | {"layers": layers, "batch": batch}))
        assert floor.item() <= step.peak_bytes


def test_what_can_be_saved_lies_above_the_floor():
    rows = (row | {"memray_peak_bytes": peak} for row, peak in zip(MEMORY, (4_000_000, 1_000_000), strict=True))
    saved = savings(table(*rows))
    assert saved["savable_share"].tolist() == [1 - floor_bytes(saved)[0] / 4_000_000] * 2


def test_the_dominant_kind_counts_saved_and_working_afters_together():
    dominant = dominant_kind(table(*MEMORY))
    assert dominant["dominant_kind"].tolist() == ["afters", "afters"]  # 200 of 400, though parameter deltas have 110
    assert dominant["dominant_share"].tolist() == pytest.approx([0.75, 0.5])


def test_residuals_are_held_against_the_larger_of_both_bounds():
    mib = 2**20
    cells = [(mib, 32_768), (mib, 32_769), (100 * mib, 524_288), (100 * mib, -524_289)]
    judged = residuals(table(*({"predicted_peak_bytes": p, "residual_bytes": r} for p, r in cells)))
    assert judged["bound_bytes"].tolist() == [32_768, 32_768, 524_288, 524_288]
    assert judged["within_bound"].tolist() == [True, False, True, False]


def test_work_ratio_counts_every_matrix_product_of_the_step():
    # [4, 8, 8, 2], batch 10, in multiply-adds: layers of 320, 640, 160. Forward 1120; backward 2 x 1120 less the
    # delta of the input, 320. n = 2 runs layer 1 once more: (1120 + 320 + 1920) / (1120 + 1920).
    rows = (STORE_ALL | {"forward_flops": 2 * 1120}, checkpointed(2) | {"forward_flops": 2 * 1440})
    work = work_ratios(table(*(row | {"layers": "4,8x2,2", "batch": 10} for row in rows)))
    assert work["forward_work_ratio"].tolist() == pytest.approx([1, 1440 / 1120])
    assert work["work_ratio"].tolist() == pytest.approx([1, 3360 / 3040])


# Time


def test_time_ratios_are_taken_within_a_round_not_between_medians():
    frame = times([1.5] * 15)
    slow_rounds = frame["repeat"] >= 7
    frame.loc[slow_rounds, "step_seconds"] *= 10  # the machine slows down for half of the rounds
    frame = frame.sample(frac=1, random_state=3)  # the order of rows means nothing
    ratio = time_ratios(frame).set_index("network").loc["NetworkWithCheckpointing"]
    assert ratio["time_ratio"] == pytest.approx(1.5)
    assert (ratio["ratio_low"], ratio["ratio_high"]) == pytest.approx((1.5, 1.5))
    assert ratio["pairs"] == 15


def test_rounds_without_both_times_are_left_out():
    frame = times([1.0] * 15)
    ratio = time_ratios(frame[(frame["network"] != "Network") | (frame["repeat"] != 3)]).iloc[-1]
    assert ratio["pairs"] == 14
    assert ratio["instability"] == "fewer than 15 pairs"


def test_schedules_are_compared_each_by_itself():
    variants = {"revolve(slots=2)": 1.5, "revolve(slots=3)": 1.25}
    frame = pd.concat([
        times([1.0] * 15),
        table(*(
            scheduled(text) | {"repeat": i, "step_seconds": 2.0 * ratio}
            for text, ratio in variants.items() for i in range(15)
        )),
    ])  # fmt: skip
    ratios = time_ratios(frame).dropna(subset="schedule").set_index("schedule")
    assert ratios["time_ratio"].to_dict() == pytest.approx(variants)


def test_cells_and_their_times_are_joined_variant_by_variant():
    variants = (STORE_ALL, checkpointed(2), scheduled("sqrt()"), scheduled("revolve(slots=2)"))
    memory = table(*(variant | {"memray_peak_bytes": peak} for peak, variant in enumerate(variants)))
    timed = [0, 1, 3]
    time = table(*(
        variants[peak] | {"repeat": i, "step_seconds": 1.0 + peak} for peak in timed for i in range(15)
    ))  # fmt: skip
    joined = with_time_ratios(memory, time)
    assert joined["memray_peak_bytes"].tolist() == timed
    assert joined["time_ratio"].tolist() == [1, 2, 4]


def test_training_pools_the_pairs_of_all_seeds():
    frame = table(
        *(STORE_ALL | {"seed": s, "epoch": e, "epoch_seconds": 1.0} for s in range(3) for e in (1, 2)),
        *(checkpointed(2) | {"seed": s, "epoch": e, "epoch_seconds": 1.0 + s / 10} for s in range(3) for e in (1, 2)),
    )
    ratios = analysed.time_ratios(frame, seconds="epoch_seconds", pair_on=["seed", "epoch"])
    assert ratios["pairs"].tolist() == [6, 6]
    assert ratios["time_ratio"].tolist() == pytest.approx([1.0, 1.1])


def test_the_interval_holds_the_middle_of_all_resamples():
    values = [1.0, 1.1, 1.3, 1.6, 2.0, 2.5]
    for n in range(1, len(values) + 1):
        resamples = np.sort(list(product(values[:n], repeat=n)))
        lower, upper = (
            np.sort(resamples[:, (n - 1) // 2]),
            np.sort(resamples[:, n // 2]),
        )  # all n**n lower and upper medians
        low, high = lower[math.ceil(0.025 * n**n) - 1], upper[math.ceil(0.975 * n**n) - 1]
        assert median_interval(np.array(values[:n])) == (low, high)


def test_the_interval_is_the_one_that_resampling_comes_to():
    values = np.random.default_rng(5).lognormal(sigma=0.1, size=21)
    drawn = stats.bootstrap((values,), np.median, method="percentile", rng=np.random.default_rng(0))
    assert median_interval(values) == pytest.approx(drawn.confidence_interval)


@pytest.mark.parametrize("repeats", [15, 16])
def test_the_interval_covers_the_true_ratio_on_a_drifting_machine(repeats: int):
    generator = np.random.default_rng(11)
    trials, truth = 1_000, 1.2
    drift = np.exp(np.cumsum(generator.normal(scale=0.1, size=(trials, repeats)), axis=1))
    store_all = drift * generator.lognormal(sigma=0.05, size=(trials, repeats))
    other = truth * drift * generator.lognormal(sigma=0.05, size=(trials, repeats))
    intervals = map(median_interval, other / store_all)
    assert sum(low <= truth <= high for low, high in intervals) >= 0.95 * trials


def covered(trials: Iterable[np.ndarray]) -> int:
    """In how many trials of the same variant under two names the interval of their ratio holds 1."""
    return sum(low <= 1 <= high for low, high in map(median_interval, trials))


def test_the_same_variant_under_two_names_is_found_equal_while_the_machine_drifts():
    generator = np.random.default_rng(17)
    shape = (100, ENOUGH_PAIRS, 2)
    slower = np.linspace(1, 1.3, shape[1])[:, None] * np.exp(
        np.cumsum(generator.normal(scale=0.05, size=shape), axis=1)
    )
    times = slower[..., :1] * generator.lognormal(sigma=0.08, size=shape)
    assert covered(times[..., 0] / times[..., 1]) >= 90


def test_the_same_variant_under_two_names_is_found_equal_in_measured_times():
    """A frequency of the depth or more saves only the input: those of the reference results did the same work.

    A trial draws rounds of two of them, and in each round which one has which name. So it judges the interval under the
    noise of measured rounds, and not whether two equal networks of one process are equally fast. Without the exchange
    of names a trial would vary by its pair's own median as well as by the draw, which is more than an interval covers.
    """
    names: dict[str, dict[str, dict[str, float]]] = {}
    with (ROOT / "results/depth_by_frequency/time.csv").open() as file:
        for row in csv.DictReader(file):
            if int(row["checkpoint_frequency"] or 0) >= int(row["depth"]):
                same = names.setdefault(row["depth"], {}).setdefault(row["checkpoint_frequency"], {})
                same[row["repeat"]] = float(row["step_seconds"])
    pairs = [
        np.array([one[repeat] / other[repeat] for repeat in one])
        for same in names.values()
        for one, other in combinations(same.values(), 2)
    ]
    assert len(pairs) >= 10
    generator = np.random.default_rng(19)
    trials = (generator.choice(pairs[generator.integers(len(pairs))], ENOUGH_PAIRS) for _ in range(100))
    assert covered(trial ** generator.choice([-1, 1], len(trial)) for trial in trials) >= 90


@pytest.mark.parametrize(
    ("ratios", "reason"),
    [
        ([1.2] * 15, ""),
        ([1.0, 1.3] * 8, "spread of 10 % or more"),
        ([1.2] * 5, "fewer than 15 pairs"),
        ([1.4, *[1.2] * 20], "slow first run"),
        ([1.2, 1.4, *[1.2] * 20], ""),
    ],
)
def test_unsteady_times_say_why(ratios: list[float], reason: str):
    assert time_ratios(times(ratios))["instability"].iloc[-1] == reason


# Fronts


def test_the_pareto_front_is_what_nothing_else_beats():
    costs = pd.DataFrame(
        [(1.0, 9), (2.0, 5), (2.0, 6), (3.0, 5), (4.0, 1), (4.0, 1)], columns=["time", "memory"], index=list("abcdef")
    )
    front = pareto_front(costs, ["time", "memory"])
    assert front[front].index.tolist() == ["a", "b", "e", "f"]


# Training


def test_accuracies_are_summarised_over_seeds_and_differences_over_all_epochs():
    curves = {"train_loss": 1.0, "train_accuracy": 0.5, "test_loss": 1.0}
    accuracy = {(0, 1): 0.2, (0, 2): 0.8, (1, 1): 0.4, (1, 2): 0.9}  # (seed, epoch)
    rows = [
        variant | curves | {"seed": seed, "epoch": epoch, "test_accuracy": value}
        for variant in (STORE_ALL, checkpointed(2))
        for (seed, epoch), value in accuracy.items()
    ]
    rows[4] |= {"train_loss": 1.25}  # n = 2, first seed and epoch
    summary = accuracy_summary(table(*rows))
    assert summary["seeds"].tolist() == [2, 2]
    assert summary["epochs"].tolist() == [2, 2]
    assert summary["test_accuracy"].tolist() == pytest.approx([0.85, 0.85])
    assert summary["test_accuracy_low"].tolist() == [0.8, 0.8]
    assert summary["test_accuracy_high"].tolist() == [0.9, 0.9]
    assert summary["largest_difference"].tolist() == [0, 0.25]


def test_what_diverges_alike_does_not_differ():
    curves = {"epoch": 1, "train_loss": np.inf, "train_accuracy": 0.1, "test_loss": np.nan, "test_accuracy": 0.1}
    summary = accuracy_summary(table(STORE_ALL | curves, checkpointed(2) | curves))
    assert summary["largest_difference"].tolist() == [0, 0]
    summary = accuracy_summary(table(STORE_ALL | curves, checkpointed(2) | curves | {"train_loss": 2.0}))
    assert summary["largest_difference"].tolist() == [0, np.inf]


@pytest.mark.parametrize("losses", [(np.nan, 2.0), (2.0, np.nan), (np.nan, np.inf)])
def test_what_diverges_differs_from_what_does_not(losses: tuple[float, float]):
    curves = {"epoch": 1, "train_accuracy": 0.1, "test_loss": 1.0, "test_accuracy": 0.1}
    rows = [
        variant | curves | {"train_loss": loss}
        for variant, loss in zip((STORE_ALL, checkpointed(2)), losses, strict=True)
    ]
    assert accuracy_summary(table(*rows))["largest_difference"].tolist() == [0, np.inf]
