"""The ends of a command: signals, exit codes, and missing extras."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

INTERRUPTED = 130
GRACE_SECONDS = 2

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(SystemExit):  # not KeyboardInterrupt: typer turns that into "Aborted!" and exit code 1
    """A signal asked this process to end."""


def end_at_once() -> None:
    """Let a signal end this process. An ignored signal stays ignored, like SIGHUP under nohup."""
    _handle(_leave)


def run_in_order(command: Callable[[], Any]) -> None:
    """Run `command`. The first signal raises Interrupted in it, and then ends the process."""
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(INTERRUPTED))
    _handle(_end)
    try:
        command()
    except Interrupted:
        _await_threads()
        _leave()  # a normal exit may wait for ever, and a signal would kill it there
    finally:
        end_at_once()


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    _handle(_hurry)
    raise Interrupted(INTERRUPTED)


def _hurry(number: int, frame: FrameType | None) -> None:
    if not any(signal.getitimer(signal.ITIMER_REAL)):
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)


def _await_threads() -> None:
    """Wait a short time for threads, so that they can clean up. Nobody else knows a thread that has just started."""
    deadline = time.monotonic() + GRACE_SECONDS
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join(max(0, deadline - time.monotonic()))


def _leave(*signalled: object) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # it may be closed, full or busy
            stream.flush()
    os._exit(INTERRUPTED)


class DamagedError(ValueError):
    """The file of a job is damaged."""


class RunAbortedError(RuntimeError):
    """The run cannot start or go on. Finished jobs are kept."""


CELL_FAILED, BAD_INPUT = 1, 2

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "harness": (
        *("altair", "matplotlib", "memray", "pandas", "pandera", "pydantic", "rich", "sklearn", "scipy", "seaborn"),
        *("threadpoolctl", "typer", "vl_convert"),
    ),
    "dask": ("dask", "distributed"),
    "peers": ("cloudpickle", "jax", "sklearn", "torch"),
}
"""The extras that commands need, each with the names of its imports."""


class MissingExtraError(ImportError):
    """A package of an extra is not installed."""


@contextmanager
def naming_extras() -> Iterator[None]:
    """Name the extra of a package that is not installed.

    Raises:
        MissingExtraError: a module of one of `EXTRAS` is not installed. It replaces the ModuleNotFoundError.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if missing := missing_extra(error.name or ""):
            raise missing from error
        raise


def missing_extra(module: str) -> MissingExtraError | None:
    """The error that names the extra of a module that is not installed. None if it is of no extra."""
    package = module.partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return MissingExtraError(
                f"{package} is not installed; the extra {extra!r} has it: "
                f"pip install '.[{extra}]', in the folder of checkpointing-lab",
                name=module,
            )
    return None
