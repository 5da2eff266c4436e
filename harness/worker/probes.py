"""The instruments: memray and the clock. All their calls are here.

A peak counts requested bytes, not resident memory, from the start of the step. Memory from before the step is neither
counted nor subtracted. After a warm-up the peak is the same to the byte in every run.
"""

import ctypes
import gc
import os
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import memray
import numpy as np
from threadpoolctl import threadpool_info

from networks import buffers

SITES = {
    buffers.activation_buffer.__name__: "memray_activation_buffers_bytes",
    buffers.parameter_delta_buffers.__name__: "memray_parameter_deltas_bytes",
    buffers.workspace_buffer.__name__: "memray_workspace_bytes",
}
OTHER_SITES = "memray_other_bytes"

PRODUCT_REPEATS = 7
PRODUCT_ROWS, PRODUCT_ITEMS = 256, 2**22
"""The timed part of a product: so many rows at least, or as many as keep its factors within so many items."""

_DEALLOCATORS = (memray.AllocatorType.FREE, memray.AllocatorType.MUNMAP)
_CLEAR_REFS = Path("/proc/self/clear_refs")
_MARK_BYTES = 4096  # a block above 512 bytes comes from malloc, and returns at once
_CANNOT_BEGIN = ("Could not create output file", "Failed to write output header")
"""The beginnings of memray's errors when it cannot begin a capture. It raises none when it cannot go on with one."""


@contextmanager
def quiet_heap() -> Iterator[None]:
    """Collect garbage now, and switch the collector off while something is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def empty_free_lists() -> None:
    """Have CPython give back the freed objects that it keeps for later ones. No garbage is collected.

    It keeps freed tuples, lists and dictionaries, and takes new ones from there, which memray does not see.
    """
    gc.freeze()  # a collection then has nothing to look through
    gc.collect()
    gc.unfreeze()


class Marks:
    """Marks in the stream of allocations. A mark allocates nothing: it frees a block that was made before.

    `leave()` leaves a mark. `lay` makes the blocks for a number of marks.
    """

    def __init__(self):
        self._blocks: deque[bytes] = deque()
        self.leave = self._blocks.popleft  # a C function: a Python one would itself allocate

    def lay(self, count: int) -> set[int]:
        """Make the blocks for `count` marks, and return the addresses that the marks will free."""
        blocks = [bytes(_MARK_BYTES) for _ in range(count)]
        self._blocks.extend(blocks)
        return {id(block) for block in blocks}


class Stretch(NamedTuple):
    """Memray's bytes from one mark, or the start, to the next mark: live at that mark, and the peak."""

    live_bytes: int
    peak_bytes: int


def peak_memory(step: Callable[[], object]) -> dict[str, int]:
    """Run `step` once under memray, and return its peak and the parts of it, in bytes.

    Each live block at the peak counts for the function of networks/buffers.py that made it, or for `other`. The parts
    add up to the peak exactly.
    """
    return memory_at_marks(step, Marks(), 0)[0]


def memory_at_marks(step: Callable[[], object], marks: Marks, count: int) -> tuple[dict[str, int], list[Stretch]]:
    """Like `peak_memory`, for a `step` that leaves `count` of `marks`. Also return the stretches that the marks end.

    Memory after the last mark belongs to the last stretch.
    """
    with _captured(step, marks, count) as (reader, addresses):
        peak = reader.metadata.peak_memory
        parts = dict.fromkeys((*SITES.values(), OTHER_SITES), 0)
        for record in reader.get_high_watermark_allocation_records(merge_threads=True):
            parts[_site(record.stack_trace())] += record.size
        stretches = list(_stretches(reader.get_allocation_records(), addresses)) if count else []
    assert sum(parts.values()) == peak, f"the parts of the peak add up to {sum(parts.values())}, not to {peak}"
    # This reads the stream as memray does, so the peaks are the same.
    assert max((stretch.peak_bytes for stretch in stretches), default=peak) == peak
    assert len(stretches) == count, f"{len(stretches)} marks in the stream, not {count}"
    return {"memray_peak_bytes": peak, **parts}, stretches


def _stretches(records: Iterable[memray.AllocationRecord], marks: set[int]) -> Iterator[Stretch]:
    sizes: dict[int, int] = {}
    live = peak = 0
    stretch = None
    for record in records:
        if record.allocator not in _DEALLOCATORS:
            sizes[record.address] = record.size
            live += record.size
            peak = max(peak, live)
        elif record.address in marks:  # the mark's own block, because it was allocated before any other at its address
            marks.remove(record.address)
            if stretch:
                yield stretch
            stretch, peak = Stretch(live, peak), live
        else:
            live -= sizes.pop(record.address, 0)
    if stretch:
        yield stretch._replace(peak_bytes=max(stretch.peak_bytes, peak))


def blocks_at_peak(step: Callable[[], object], *, nbytes: int) -> int:
    """Run `step` once under memray, and return how many blocks of exactly `nbytes` are live at its peak."""
    with _captured(step, Marks(), 0) as (reader, _):
        sizes: dict[int, int] = {}
        live = peak = blocks = blocks_at_peak = 0
        for record in reader.get_allocation_records():
            freed = record.allocator in _DEALLOCATORS
            size = sizes.pop(record.address, 0) if freed else record.size
            if not freed:
                sizes[record.address] = size
            sign = -1 if freed else 1
            live += sign * size
            blocks += sign * (size == nbytes)
            if live > peak:
                peak, blocks_at_peak = live, blocks
    return blocks_at_peak


def resident_peak(step: Callable[[], object]) -> dict[str, int]:
    """Run `step` once, and return how far resident memory rises in it, and the resident memory before, in bytes.

    Freed memory is given back first, so only used memory is resident before the step. Then the kernel's high-water mark
    is reset. The kernel counts in batches, so a few hundred KB are noise.

    Raises:
        RuntimeError: this system has no mark that can be reset.
    """
    with quiet_heap():
        try:
            ctypes.CDLL(None).malloc_trim(0)
            _CLEAR_REFS.write_text("5")
        except (OSError, AttributeError) as error:
            raise RuntimeError(f"resident peaks need glibc and a writable {_CLEAR_REFS}: {error}") from None
        before = _status_bytes("VmRSS")
        step()
        return {"resident_before_bytes": before, "resident_peak_bytes": _status_bytes("VmHWM") - before}


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 2**10 for line in lines if line.startswith(f"{field}:"))


def stopwatch() -> Callable[[], float]:
    """Return a function that returns the seconds since its last call, or since it was made."""
    last = time.perf_counter_ns()

    def lap() -> float:
        nonlocal last
        before, last = last, time.perf_counter_ns()
        return (last - before) / 1e9

    return lap


def pin_to_one_cpu() -> int | None:
    """Keep this process on one processor, and return its number. None if the system does not allow it.

    It is the last processor, because the first one serves most interrupts.
    """
    try:
        cpu = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cpu})
    except (AttributeError, OSError):
        return None
    return cpu


def require_one_thread() -> None:
    """Raise RuntimeError if a loaded library would compute with more than one thread."""
    threads = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
    if any(number != 1 for number in threads.values()):
        raise RuntimeError(f"measurements need one thread, got {threads}")


def product_seconds(batch: int, inputs: int, outputs: int, *, dtype: str) -> tuple[float, float, float]:
    """Return the seconds of a layer's three matrix products: the output, its weight gradient, and the gradient below.

    Each is the median of several runs. Of a large batch only a part is timed, and its seconds are scaled.
    """
    rows = min(batch, max(PRODUCT_ROWS, PRODUCT_ITEMS // (inputs + outputs)))
    before, delta, weights = (np.ones(shape, dtype) for shape in ((rows, inputs), (rows, outputs), (inputs, outputs)))
    products = (before, weights), (before.T, delta), (delta, weights.T)
    forward, weights_delta, delta_before = (_median_seconds(*product) * batch / rows for product in products)
    return forward, weights_delta, delta_before


def _median_seconds(left: np.ndarray, right: np.ndarray) -> float:
    product = left @ right  # warms up
    lap = stopwatch()
    laps = []
    for _ in range(PRODUCT_REPEATS):
        np.matmul(left, right, out=product)
        laps.append(lap())
    return float(np.median(laps))


def capture(step: Callable[[], object], path: Path) -> None:
    """Run `step` once under memray, and write its capture to the file `path`, for memray's own reporters.

    Raises:
        RuntimeError: the capture was not written completely.
    """
    _warm_up(step, path)
    _track(step, path)


@contextmanager
def _captured(step: Callable[[], object], marks: Marks, count: int) -> Iterator[tuple[memray.FileReader, set[int]]]:
    # The folder belongs to the process that started this one. If the step fails, the capture stays there.
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"capture-{os.getpid()}.bin"
    marks.lay(count)
    _warm_up(step, path)
    addresses = marks.lay(count)
    _track(step, path)
    with memray.FileReader(path) as reader:
        yield reader, addresses
    path.unlink()


def _track(step: Callable[[], object], path: Path) -> None:
    # memray stops without an error when it cannot write on, and its file looks like a shorter step. So the last event
    # is a mark, and the file must have it.
    end = Marks()
    last = end.lay(1)
    try:
        with quiet_heap(), memray.Tracker(destination=memray.FileDestination(path, overwrite=True)):
            step()
            end.leave()
    except (OSError, RuntimeError) as error:
        if not str(error).startswith(_CANNOT_BEGIN):
            raise
        raise _cut_short(path) from error
    with memray.FileReader(path) as reader:
        freed = (record.address for record in reader.get_allocation_records() if record.allocator in _DEALLOCATORS)
        if last.isdisjoint(freed):
            raise _cut_short(path)


def _cut_short(path: Path) -> RuntimeError:
    folder = os.statvfs(path.parent)
    most, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = "" if most == resource.RLIM_INFINITY else f", and no file may be larger than {most:,} bytes (ulimit -f)"
    return RuntimeError(
        f"memray's capture is cut short: TMPDIR {path.parent} has {folder.f_bavail * folder.f_frsize:,} bytes free"
        f"{limit}; make room there, or set TMPDIR to a folder that has it"
    )


def _warm_up(step: Callable[[], object], path: Path) -> None:
    # What memray itself makes CPython do must not count for the step. Its profile function has CPython make a line
    # table for each code object at its first call: 10 to 17 KB.
    _first_capture(path)
    sys.setprofile(lambda *event: None)
    try:
        step()
    finally:
        sys.setprofile(None)


@cache
def _first_capture(path: Path) -> None:
    # memray's first capture in a process imports modules. They leave freed objects, up to 4 KB of which the step would
    # take instead of new ones. They also register abstract classes, so CPython would fill its caches of isinstance
    # again: 7 KB in scikit-learn's step.
    _track(lambda: None, path)


def _site(stack: list[tuple[str, str, int]]) -> str:
    for function, file, _ in stack:
        if file == buffers.__file__ and function in SITES:
            return SITES[function]
    return OTHER_SITES
