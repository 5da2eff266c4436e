"""One lock for all measurements on this machine, of any user and in any folder.

A measurement of time holds the machine alone. Measurements of bytes share it. The lock is a `flock` on a directory of
the system. Every user may take it. There is no lock file, so nobody can plant or remove one. A measurement of time
first closes the gate, the directory above. New measurements of bytes wait at the gate, so they cannot keep the machine
busy for ever. A waiting process says for whom it waits.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from harness.files import _holders, holder

_CPUS = Path("/sys/devices/system/cpu")
MACHINE = _CPUS if _CPUS.is_dir() else Path("/tmp")

SAY_SECONDS, PATIENCE_SECONDS = 10, 24 * 60 * 60
"""When a wait is reported, and when it ends with an error: a training may hold the machine for hours."""

POLL_SECONDS = 0.05


@contextmanager
def at_work(*, alone: bool, stopped: Event | None = None) -> Iterator[None]:
    """Hold this machine: with `alone` when nothing else measures, otherwise when nothing that is alone measures.

    `stopped` ends the wait.

    Raises:
        ValueError: the wait was stopped, or took too long.
    """
    wait = _Wait(stopped or Event())
    mode = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with _directory(MACHINE.parent) as gate, _directory(MACHINE) as machine:
        wait.take(gate, mode)
        wait.take(machine, mode)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


class _Wait:
    """A wait for one lock or several. It is reported once."""

    def __init__(self, stopped: Event):
        self._stopped = stopped
        self._began = time.monotonic()
        self._told = False

    def take(self, descriptor: int, mode: int) -> None:
        while True:
            try:
                return fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
            except BlockingIOError:
                self._pause(descriptor)

    def _pause(self, descriptor: int) -> None:
        if self._stopped.wait(POLL_SECONDS):
            raise ValueError("stopped while it waited for this machine")
        waited = time.monotonic() - self._began
        if waited > PATIENCE_SECONDS:
            raise ValueError(
                f"waited in vain for {holder(descriptor) or 'another process'}, which measures on this machine; "
                "stop it, and start the same command again"
            )
        if waited > SAY_SECONDS and not self._told:
            self._told = True
            if _holders(descriptor) != {os.getpid()}:  # not another thread of this process
                said = holder(descriptor) or "another process"
                print(f"waiting for {said}, which measures on this machine", file=sys.stderr, flush=True)


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
