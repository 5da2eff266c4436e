"""A worker's scratch folder. It ends with its worker, and so does every process that the worker has started.

A folder is locked while its owner lives. So the next command can find folders of dead owners and remove them. All
children of a worker inherit the folder's name as TMPDIR. They are found by it, in any process group or session.
"""

import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "checkpointing-lab.scratch-"
ROUNDS = 10
"""How many times to look for processes. A process may start another just before it is killed."""


@contextmanager
def scratch() -> Iterator[Path]:
    """A new folder in the temporary folder. It is removed at the end. Folders of dead processes are removed first."""
    _sweep(Path(tempfile.gettempdir()))
    folder, lock = _locked()
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def end_processes(folder: Path) -> None:
    """Kill every process whose TMPDIR is `folder`. A process that hides its TMPDIR stays. This works only on Linux."""
    if sys.platform != "linux":
        return
    mark = f"TMPDIR={folder}".encode()
    for _ in range(ROUNDS):
        found = [process for process in _processes() if mark in _environment(process)]
        if not found:
            return
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _locked() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another command removed it, because it was not locked yet
            continue
        with suppress(OSError):  # without locks no command removes folders
            fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder, lock
        os.close(lock)


def _sweep(temporary: Path) -> None:
    """Remove the folders of this user's dead processes."""
    for folder in temporary.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(folder)
            finally:
                os.close(lock)


def _remove(folder: Path) -> None:
    end_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def _environment(process: int) -> list[bytes]:
    """The variables that a process was started with. Empty if it has ended or is another user's."""
    try:
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
