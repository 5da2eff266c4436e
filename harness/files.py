"""Reads files of unknown writers without waiting, as text or JSON. A bad file is an error of a few words."""

import codecs
import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from networks.wording import visible

SHOWN = 200
"""How many letters of another process's command are shown."""


def holder(descriptor: int) -> str:
    """The other process of this machine that has locked the open file `descriptor`, in words. Empty if unknown."""
    others = sorted(_holders(descriptor) - {os.getpid()})
    return _described(others[0]) if others else ""


def _holders(descriptor: int) -> set[int]:
    status = os.fstat(descriptor)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return set()
    return {int(lock[4]) for lock in locks if lock[1] == "FLOCK" and lock[5] == place}  # a waiting process has an arrow


def _described(process: int) -> str:
    """A process by its number, user and command, without control characters."""
    folder = Path("/proc") / str(process)
    try:
        user, command = folder.stat().st_uid, (folder / "cmdline").read_bytes()
    except OSError:
        return f"process {process}"
    words = " ".join(command.decode(errors="replace").replace("\0", " ").split())
    return f"process {process} of user {user} ({visible(words)[:SHOWN]})"


TEMPORARY = ".checkpointing-lab.{}.tmp"
"""The name of a file while it is written. No other program uses such names."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`. At any moment, also after a crash, there is the whole old file or the whole new one.

    Raises OSError with the file's name. No unfinished file is left then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY.format(path.name))
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # now the new name is on the disk, too
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


JSON_LEVELS = 32
"""The deepest allowed nesting of JSON. The harness writes six levels."""


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read. Raises OSError, and ValueError for a FIFO or device, because reading it may never end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise ValueError("it is not a regular file")
    return path.open("rb")


def read_regular(path: Path) -> bytes:
    """The content of a file. Raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def open_lock(path: Path) -> TextIO:
    """Open a lock's file for reading and writing. Make it if it does not exist.

    Raises OSError, and ValueError if it is no plain file, because a link may lead to a file of others.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "r+", errors="replace")
        os.close(descriptor)
    raise ValueError(f"{path}: is not a plain file; remove it")


def is_utf16(content: bytes) -> bool:
    """Whether a text is UTF-16, by its byte order mark or by a zero byte in its first character."""
    return content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:2]


def text_of(content: bytes) -> str:
    """UTF-8 as text, without a byte order mark. Raises ValueError."""
    if is_utf16(content):
        raise ValueError("it is UTF-16, and must be UTF-8")
    return content.decode("utf-8-sig")


def parse_json(content: bytes) -> Any:
    """The value of a JSON text, which can be written as UTF-8 again. Raises ValueError and no other error."""
    try:
        value = json.loads(text_of(content))
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if _is_deeper(value, JSON_LEVELS):
        raise ValueError(_TOO_DEEP)
    if b"\\u" in content:
        format_json(value)  # an escape may be half a character, which cannot be written
    return value


def format_json(value: Any) -> bytes:
    """The inverse of `parse_json`."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


_TOO_DEEP = f"it is nested more than {JSON_LEVELS} deep"


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(inner, levels - 1) for inner in inside)
