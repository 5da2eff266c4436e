"""The pipes to a worker: a request in, an answer and a log out. Each has a largest size."""

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
"""Most bytes of an answer. The rest of a longer one is dropped."""

LOG_BYTES = 2**20
"""Most bytes of a worker's log. Only the last ones are kept."""

LAST_WORDS_SECONDS = 1
"""How long the pipes are read after a worker has ended. A lost child process may hold them open."""

_CHUNK_BYTES = 2**16
_POLL_SECONDS, _LONGEST_SECONDS = 0.1, 3600  # a selector cannot wait for more than 24 days


def converse(
    process: subprocess.Popen, request: bytes, *, timeout: float | None, end: Callable[[], None]
) -> tuple[bytes, bytes, bool]:
    """Give `process` its request, and wait until it has ended. Its pipes are unbuffered.

    Returns its answer, its log, and whether it ended within `timeout` seconds. `end` kills the process and all its
    children. It is called when the process has ended or its time is over.
    """
    answer, log = _Answer(), _Log()
    with ExitStack() as files, selectors.DefaultSelector() as selector:
        selector.register(_piped(process.stdin), selectors.EVENT_WRITE, _Request(request))
        selector.register(_piped(process.stdout), selectors.EVENT_READ, answer)
        selector.register(_piped(process.stderr), selectors.EVENT_READ, log)
        pause = _POLL_SECONDS
        with suppress(AttributeError, OSError):  # other systems have no pidfd
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
    """Pass on data, wait at most `seconds` for it, and close each file that is at its end."""
    for key, _ in selector.select(seconds):
        if not key.data(key.fd):
            selector.unregister(key.fileobj)
            cast(IO[bytes], key.fileobj).close()


class _Request:
    """Writes a request in pieces that never block. It is done when all is written, or when nobody reads."""

    def __init__(self, request: bytes):
        self._left = memoryview(request)

    def __call__(self, descriptor: int) -> bool:
        try:
            self._left = self._left[os.write(descriptor, self._left[:PIPE_BUF]) :]
        except BrokenPipeError:
            return False
        return bool(self._left)


class _Answer:
    """Reads an answer, and keeps its first bytes."""

    def __init__(self):
        self.kept = bytearray()

    def __call__(self, descriptor: int) -> bool:
        chunk = os.read(descriptor, _CHUNK_BYTES)
        self.kept += chunk[: ANSWER_BYTES + 1 - len(self.kept)]
        return bool(chunk)


class _Log:
    """Reads a log, and keeps its last bytes."""

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
