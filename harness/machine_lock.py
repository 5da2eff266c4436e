"""One lock for all that measures on this machine, whoever runs it and in whatever folder.

What the clock measures holds the machine alone; what counts bytes shares it. The lock is a `flock` on a directory that
belongs to the system: every user may take it, no file is made for it, and so none can be planted or removed. Whoever
wants the machine alone closes the gate, the directory above, before waiting: what shares the machine cannot keep it
busy for ever. Whoever waits is told for whom.
"""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

_CPUS = Path("/sys/devices/system/cpu")
MACHINE = _CPUS if _CPUS.is_dir() else Path("/tmp")

SAY_SECONDS, PATIENCE_SECONDS = 10, 24 * 60 * 60
"""When a wait is told, and when it is given up: a training may take the machine for hours."""

POLL_SECONDS = 0.05

SHOWN = 200
"""How many letters of another process's command are shown."""


@contextmanager
def at_work(*, alone: bool, stopped: Event | None = None) -> Iterator[None]:
    """Wait until this machine measures nothing, or where not `alone` nothing that has to be alone, and hold it so.

    `stopped` ends the wait.

    Raises:
        ValueError: the wait was in vain.
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
    """A wait for one lock or several, which is told once."""

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


def holder(descriptor: int) -> str:
    """Which other process of this machine has locked the open file `descriptor`, for people; empty where unknown."""
    others = sorted(_holders(descriptor) - {os.getpid()})
    return _described(others[0]) if others else ""


def _holders(descriptor: int) -> set[int]:
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return set()
    return {int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5] == place}  # one that waits has an arrow


def _described(process: int) -> str:
    """A process by its number, user and command, without what could move a terminal's cursor."""
    folder = Path("/proc") / str(process)
    try:
        user, command = folder.stat().st_uid, (folder / "cmdline").read_bytes()
    except OSError:
        return f"process {process}"
    letters = command.decode(errors="replace").rstrip("\0")
    shown = "".join(letter if letter.isprintable() else " " for letter in letters)[:SHOWN]
    return f"process {process} of user {user} ({shown})"


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
