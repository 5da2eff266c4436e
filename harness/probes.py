"""The instruments: memray and the clock. Every call of either is here.

A peak counts requested bytes, not resident memory, from the start of the step: what existed before is neither
counted nor subtracted. After a warm-up it is the same to the byte in every run.
"""

import gc
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import memray
import numpy as np

from networks import buffers

SITES = {
    buffers.activation_buffer.__name__: "memray_activation_buffers_bytes",
    buffers.parameter_delta_buffers.__name__: "memray_parameter_deltas_bytes",
    buffers.workspace_buffer.__name__: "memray_workspace_bytes",
}
OTHER_SITES = "memray_other_bytes"

PRODUCT_REPEATS = 7
PRODUCT_ROWS, PRODUCT_ITEMS = 256, 2**22
"""Rows that are timed of a product at least, and items of its factors at most if those are more rows."""

_DEALLOCATORS = (memray.AllocatorType.FREE, memray.AllocatorType.MUNMAP)
_MARK_ITEMS = 100_000
_MARK_BYTES = bytes(_MARK_ITEMS).__sizeof__()  # odd, which no array of 4-byte or 8-byte values can be


@contextmanager
def quiet_heap() -> Iterator[None]:
    """Collect garbage, and keep the collector from running in what is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def peak_memory(step: Callable[[], None]) -> dict[str, int]:
    """Run `step` once under memray and return its peak and what it was made of, in bytes.

    The peak is attributed to the function of networks/buffers.py that each live block came from, and to `other`
    where it came from none; the parts add up to the peak exactly.
    """
    with _capture(step, memray.FileFormat.AGGREGATED_ALLOCATIONS) as reader:
        peak = reader.metadata.peak_memory
        parts = dict.fromkeys((*SITES.values(), OTHER_SITES), 0)
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            parts[_site(record.stack_trace())] += record.size
    assert sum(parts.values()) == peak, f"the parts of the peak add up to {sum(parts.values())}, not to {peak}"
    return {"memray_peak_bytes": peak, **parts}


def mark() -> None:
    """Leave a mark in the stream of allocations: one block of a size that nothing else has, freed at once."""
    bytes(_MARK_ITEMS)


def live_bytes_at_marks(step: Callable[[], None]) -> list[int]:
    """Run `step` once under memray and return the bytes live at each call of `mark` in it, the mark's own left out."""
    with _capture(step, memray.FileFormat.ALL_ALLOCATIONS) as reader:
        sizes: Counter[int] = Counter()
        live, peak, at_marks = 0, 0, []
        for record in reader.get_allocation_records():
            if record.allocator in _DEALLOCATORS:
                live -= sizes.pop(record.address, 0)
                continue
            if record.size == _MARK_BYTES:
                at_marks.append(live)
            sizes[record.address] = record.size
            live += record.size
            peak = max(peak, live)
        # The stream was read as memray reads it itself: the peaks, marks included, are the same.
        assert peak == reader.metadata.peak_memory, f"peak read as {peak}, not as {reader.metadata.peak_memory}"
    return at_marks


def stopwatch() -> Callable[[], float]:
    """Return a function that tells the seconds since it was last called, or made."""
    last = time.perf_counter_ns()

    def lap() -> float:
        nonlocal last
        before, last = last, time.perf_counter_ns()
        return (last - before) / 1e9

    return lap


def product_seconds(batch: int, inputs: int, outputs: int, *, dtype: str) -> tuple[float, float, float]:
    """Return the seconds of a layer's matrix products: forward, of its weights' delta, and of the delta before it.

    Medians of several. Of a large batch a part is timed, from which the seconds are scaled.
    """
    rows = min(batch, max(PRODUCT_ROWS, PRODUCT_ITEMS // (inputs + outputs)))
    before, delta, weights = (np.ones(shape, dtype) for shape in ((rows, inputs), (rows, outputs), (inputs, outputs)))
    products = (before, weights), (before.T, delta), (delta, weights.T)
    return tuple(_median_seconds(*product) * batch / rows for product in products)


def _median_seconds(left: np.ndarray, right: np.ndarray) -> float:
    product = left @ right  # warms up
    lap = stopwatch()
    laps = []
    for _ in range(PRODUCT_REPEATS):
        np.matmul(left, right, out=product)
        laps.append(lap())
    return median(laps)


@contextmanager
def _capture(step: Callable[[], None], file_format: memray.FileFormat) -> Iterator[memray.FileReader]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "capture.bin"
        _run_profiled(step)
        with quiet_heap(), memray.Tracker(path, file_format=file_format):
            step()
        with memray.FileReader(path) as reader:
            yield reader


def _run_profiled(step: Callable[[], None]) -> None:
    # memray watches calls through a profile function. Under one, CPython makes a line table for each code object at its
    # first call: 10 to 17 KB which are the instrument's, and which would count as the step's.
    sys.setprofile(lambda *event: None)
    try:
        step()
    finally:
        sys.setprofile(None)


def _site(stack: list[tuple[str, str, int]]) -> str:
    for function, file, _ in stack:
        if file == buffers.__file__ and function in SITES:
            return SITES[function]
    return OTHER_SITES
