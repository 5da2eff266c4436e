"""What passes between this process and a worker: a request, an answer, and what it prints; each kept within bounds."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from math import inf
from select import PIPE_BUF
from typing import IO, cast

ANSWER_BYTES = 2**28
"""The most that an answer may have: of a longer one the rest is left out."""

LOG_BYTES = 2**20
"""The most that is kept of what a worker prints: the last of it."""

LAST_WORDS_SECONDS = 1
"""How long the pipes of a worker that has ended are read: a process that cannot be found may hold them open."""

_CHUNK_BYTES = 2**16
_POLL_SECONDS, _LONGEST_SECONDS = 0.1, 3600  # a selector cannot wait for more than 24 days


def converse(
    process: subprocess.Popen, request: bytes, *, timeout: float | None, end: Callable[[], None]
) -> tuple[bytes, bytes, bool]:
    """Give `process` its request and wait until it has ended; its pipes are unbuffered.

    Returns its answer, what it printed, and whether it ended within `timeout` seconds. `end` kills it and all that it
    has started: it is called once the process has ended or its time is over.
    """
    answer, log = _Answer(), _Log()
    with ExitStack() as files, selectors.DefaultSelector() as selector:
        selector.register(_piped(process.stdin), selectors.EVENT_WRITE, _Request(request))
        selector.register(_piped(process.stdout), selectors.EVENT_READ, answer)
        selector.register(_piped(process.stderr), selectors.EVENT_READ, log)
        pause = _POLL_SECONDS
        with suppress(AttributeError, OSError):  # there is no such thing on other systems
            ended = files.enter_context(open(os.pidfd_open(process.pid), "rb", buffering=0))
            selector.register(ended, selectors.EVENT_READ, lambda descriptor: False)
            pause = _LONGEST_SECONDS
        deadline = inf if timeout is None else time.monotonic() + timeout
        while process.poll() is None and (left := deadline - time.monotonic()) > 0:
            _pass_on(selector, min(left, pause))
        in_time = process.poll() is not None
        end()
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            _pass_on(selector, left)
    return bytes(answer.kept), log.words(), in_time


def _piped(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # the process was started with a pipe for each
    return stream


def _pass_on(selector: selectors.BaseSelector, seconds: float) -> None:
    """Wait for something to pass on, no longer than `seconds`, and close each file that has no more of it."""
    for key, _ in selector.select(seconds):
        if not key.data(key.fd):
            selector.unregister(key.fileobj)
            cast(IO[bytes], key.fileobj).close()


class _Request:
    """Writes a request, as much at a time as never blocks; done when it is written or nobody reads it."""

    def __init__(self, request: bytes):
        self._left = memoryview(request)

    def __call__(self, descriptor: int) -> bool:
        try:
            self._left = self._left[os.write(descriptor, self._left[:PIPE_BUF]) :]
        except BrokenPipeError:
            return False
        return bool(self._left)


class _Answer:
    """Reads an answer, and keeps the first bytes of it."""

    def __init__(self):
        self.kept = bytearray()

    def __call__(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK_BYTES)
        self.kept += chunk[: ANSWER_BYTES + 1 - len(self.kept)]
        return bool(chunk)


class _Log:
    """Reads what is printed, and keeps the last bytes of it."""

    def __init__(self):
        self._kept, self._read = bytearray(), 0

    def __call__(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK_BYTES)
        self._kept += chunk
        self._read += len(chunk)
        if len(self._kept) > 2 * LOG_BYTES:
            del self._kept[:-LOG_BYTES]
        return bool(chunk)

    def words(self) -> bytes:
        kept = bytes(self._kept[-LOG_BYTES:])
        left_out = self._read - len(kept)
        return (f"({left_out:,} bytes before this are left out)\n".encode() if left_out else b"") + kept
