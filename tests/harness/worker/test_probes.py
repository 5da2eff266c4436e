"""The instruments, held against allocations of known size."""

import os
import subprocess
import sys

import numpy as np
import pytest

from harness.worker import probes
from networks.buffers import activation_buffer, parameter_delta_buffers, workspace_buffer

F4 = np.dtype("float32")
MARGIN = 16 * 1024  # small objects of the interpreter, and of the profile hook


@pytest.mark.parametrize("mapped", [False, True])
def test_a_peak_is_split_by_where_its_bytes_were_allocated(mapped):
    def step():
        gone = activation_buffer(1000, 1000, F4, mapped=mapped)
        del gone
        after = activation_buffer(500, 500, F4, mapped=mapped)
        deltas = parameter_delta_buffers(400, 300, F4, mapped=mapped)
        workspace = workspace_buffer(700_000, F4)
        other = np.empty(50_000, F4)
        return after, deltas, workspace, other

    peak = probes.peak_memory(step)
    assert peak["memray_activation_buffers_bytes"] == 500 * 500 * 4
    assert peak["memray_parameter_deltas_bytes"] == (400 * 300 + 300) * 4
    assert peak["memray_workspace_bytes"] == 700_000 * 4
    assert 50_000 * 4 <= peak["memray_other_bytes"] < 50_000 * 4 + MARGIN
    assert sum(peak.values()) == 2 * peak["memray_peak_bytes"]


def test_what_existed_before_is_not_counted():
    before = np.ones(1_000_000, F4)
    assert probes.peak_memory(lambda: before + np.float32(1))["memray_peak_bytes"] == pytest.approx(4e6, abs=MARGIN)
    assert probes.peak_memory(lambda: None)["memray_peak_bytes"] < MARGIN


def test_live_bytes_and_peaks_are_read_between_marks():
    marks = probes.Marks()

    def step():
        marks.leave()
        first = np.empty(300_000, F4)
        marks.leave()
        second = np.empty(200_000, F4)
        del second
        marks.leave()
        del first
        marks.leave()
        third = np.empty(50_000, F4)
        marks.leave()
        return np.empty(25_000, F4), third  # after the last mark, so of the last stretch

    peak, stretches = probes.memory_at_marks(step, marks, 5)
    assert [one.live_bytes for one in stretches] == pytest.approx([0, 1_200_000, 1_200_000, 0, 200_000], abs=MARGIN)
    assert [one.peak_bytes for one in stretches] == pytest.approx(
        [0, 1_200_000, 2_000_000, 1_200_000, 300_000], abs=MARGIN
    )
    assert peak["memray_peak_bytes"] == stretches[2].peak_bytes


def test_marks_take_no_byte():
    def step():
        for _ in range(3):
            marks.leave()
        return np.empty(100_000, F4)

    marks = probes.Marks()
    marked, stretches = probes.memory_at_marks(step, marks, 3)
    assert [one.live_bytes for one in stretches] == [stretches[0].live_bytes] * 3
    marks.lay(6)
    assert probes.peak_memory(step) == marked


def test_a_mark_that_is_not_left_is_noticed():
    with pytest.raises(AssertionError, match="0 marks in the stream, not 1"):
        probes.memory_at_marks(lambda: None, probes.Marks(), 1)


def test_a_stopwatch_tells_the_seconds_of_each_lap(monkeypatch):
    ticks = iter([5, 5 + 2_000_000_000, 5 + 2_500_000_000])
    monkeypatch.setattr(probes.time, "perf_counter_ns", lambda: next(ticks))
    lap = probes.stopwatch()
    assert (lap(), lap()) == (2.0, 0.5)


@pytest.mark.parametrize(
    "step",
    [
        "lambda: [isinstance(kind, Sized) for kind in kinds]",  # asks again after an abstract class was registered
        "lambda: [[] for _ in kinds]",  # takes lists that were freed and kept
    ],
)
def test_what_memrays_first_capture_does_is_not_the_steps(step, tmp_path):
    text = (
        "from collections.abc import Sized\n"
        "from harness.worker import probes\n"
        "kinds = [type(f'Kind{n}', (), {})() for n in range(50)]\n"
        f"step = {step}\n"
        "step()\n"
        "print(*(probes.peak_memory(step)['memray_peak_bytes'] for _ in range(2)))\n"
    )
    # no bytecode is cached there, so what is imported is compiled, which frees many lists
    environment = {**os.environ, "PYTHONMALLOC": "malloc", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, env=environment)
    first, second = result.stdout.split()
    assert first == second
