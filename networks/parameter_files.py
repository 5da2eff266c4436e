"""Parameters in a file: an npz without pickles, written whole or not at all, and read with suspicion.

It is a zip archive, not compressed, of `network.txt`, which says what network it is of, and of `weights_1.npy`,
`biases_1.npy`, .. for each layer, little-endian. `numpy.load` reads it as well. Here nothing in it is taken on trust:
what is expected is known to the byte, and no more than that is read.
"""

import os
import secrets
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from networks.optimizers import Pair

_TITLE = "checkpointing-lab parameters 1: "
_MOST_TEXT = 16 * 2**20
_MAGIC = b"\x93NUMPY\x01\x00"

_DAMAGES = (zipfile.BadZipFile, struct.error, EOFError, NotImplementedError, OverflowError, RuntimeError)
"""What the standard library raises for an archive that is none; RuntimeError for one with a password."""


def write_parameters(
    path: str | os.PathLike[str], kind: str, parameters: list[Pair], *, check: Callable[[], None]
) -> None:
    """Write `parameters` of a network of this `kind`, a line of text, under another name first.

    So `path` is the old file or the new one, whatever happens, and nothing half-written is left. `check` may raise at
    the last moment. Raises ValueError for what is no regular file, OSError where it cannot be written.
    """
    path = _regular(path)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr(zipfile.ZipInfo("network.txt"), _TITLE + kind)
                for name, array in _named(parameters):
                    with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
                        np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        check()
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def read_parameters(path: str | os.PathLike[str], kind: str, parameters: list[Pair]) -> list[Pair]:
    """Return what the file holds for a network of this `kind`, whose `parameters` say shapes and dtype.

    Raises ValueError for any other file, and OSError where it cannot be read.
    """
    path = _regular(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                found = _read_kind(archive)
                arrays = [_read_array(archive, name, array) for name, array in _named(parameters) if found == kind]
        except (*_DAMAGES, ValueError, OSError) as error:
            raise ValueError(f"{path}: is no file that save wrote, or not all of it: {_short(str(error))}") from None
    if found != kind:
        raise ValueError(f"{path}: holds {_short(found)}; this network has {_short(kind)}")
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def _regular(path: str | os.PathLike[str]) -> Path:
    """Where `path` leads; a device or a pipe is refused, because it might block, or be replaced by a file."""
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: is no regular file")
    return path


def _named(parameters: list[Pair]) -> list[tuple[str, np.ndarray]]:
    return [
        (f"{part}_{number}.npy", array)
        for number, pair in enumerate(parameters, start=1)
        for part, array in zip(("weights", "biases"), pair, strict=True)
    ]


def _read_kind(archive: zipfile.ZipFile) -> str:
    text = _member(archive, "network.txt").read(_MOST_TEXT).decode()
    if not text.startswith(_TITLE) or not text.isprintable():
        raise ValueError("network.txt does not say what network it is of")
    return text.removeprefix(_TITLE)


def _read_array(archive: zipfile.ZipFile, name: str, like: np.ndarray) -> np.ndarray:
    dtype = like.dtype.newbyteorder("<")
    expected = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {like.shape!r}, }}"
    with _member(archive, name) as member:
        magic, length = member.read(len(_MAGIC)), int.from_bytes(member.read(2), "little")
        header = member.read(length).decode("latin-1").strip()
        if magic != _MAGIC or header != expected:
            raise ValueError(f"{name} must begin with {expected}, got {_short(header) or 'nothing'}")
        content = member.read(like.nbytes + 1)
    if len(content) != like.nbytes:
        more = "fewer" if len(content) < like.nbytes else "more"
        raise ValueError(f"{name} must have {like.nbytes} bytes of values, got {more}")
    return np.frombuffer(content, dtype).reshape(like.shape)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """The member, which is not compressed: so no few bytes become many."""
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise ValueError(f"{name} is missing") from None
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.open(entry)


def _short(text: str) -> str:
    """What a file says, fit for one line of a terminal."""
    text = text.encode("unicode_escape").decode()
    return text if len(text) <= 200 else f"{text[:200]}.."
