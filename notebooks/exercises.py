"""The exercises of tour.ipynb: each answer is checked against what a dry run, a table or the planner says."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from networks import dry_run, plan

MIB = 2**20
DEEP = [64] + [128] * 63 + [10]
BATCH = 1024
OWN_PEAK_MIB, OWN_STEPS = 12, 130
BUDGET_MIB = 10


def check(number: int, answer: Any, **beside: Any) -> None:
    """Say whether `answer` is that of exercise `number`; None is no answer yet."""
    if answer is None:
        print(f"Exercise {number}: no answer yet. Fill it in, and run this cell again.")
        return
    right, why = _EXERCISES[number](answer, **beside)
    print(f"Exercise {number}: {'right' if right else 'not yet'}. {why}")


def _frequency(answer: int) -> tuple[bool, str]:
    peaks = {n: dry_run(DEEP, batch=BATCH, checkpoint_frequency=n).peak_bytes for n in range(1, 65)}
    if answer not in peaks:
        return False, f"A frequency is from 1 to 64, and {answer!r} is none."
    right = peaks[answer] == min(peaks.values())
    why = "No other frequency has a lower peak." if right else "Another frequency has a lower peak."
    return right, f"n = {answer} peaks at {peaks[answer] / MIB:.2f} MiB. {why}"


def _steps(answer: int) -> tuple[bool, str]:
    steps = dry_run(DEEP, batch=BATCH, checkpoint_frequency=8).forward_steps
    hint = "" if answer == steps else " Which layers are run a second time?"
    return answer == steps, f"You say {answer} forward steps.{hint}"


def _own_schedule(answer: Callable[..., Any]) -> tuple[bool, str]:
    step = dry_run(DEEP, batch=BATCH, schedule=answer)
    right = step.peak_bytes <= OWN_PEAK_MIB * MIB and step.forward_steps <= OWN_STEPS
    return right, (
        f"Your schedule peaks at {step.peak_bytes / MIB:.2f} MiB with {step.forward_steps} forward steps; at most "
        f"{OWN_PEAK_MIB} MiB and {OWN_STEPS} steps are wanted."
    )


def _table(answer: int, *, memory: pd.DataFrame) -> tuple[bool, str]:
    deepest = memory[memory["depth"] == 128]
    best = deepest.loc[deepest["memray_peak_bytes"].astype("float64").idxmin(), "checkpoint_frequency"]
    hint = "" if answer == best else " Look at the rows of depth 128, sorted by memray_peak_bytes."
    return bool(answer == best), f"You say n = {answer}.{hint}"


def _plan(answer: int) -> tuple[bool, str]:
    steps = plan(DEEP, batch=BATCH, budget_bytes=BUDGET_MIB * MIB).forward_steps
    hint = "" if answer == steps else f" Ask plan(DEEP, batch={BATCH}, budget_bytes={BUDGET_MIB} * 2**20)."
    return answer == steps, f"You say {answer} forward steps.{hint}"


_EXERCISES: dict[int, Callable[..., tuple[bool, str]]] = {
    1: _frequency,
    2: _steps,
    3: _own_schedule,
    4: _table,
    5: _plan,
}
