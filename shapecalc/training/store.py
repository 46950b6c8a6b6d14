"""Decoded pictures on disk: one file for all pictures of a split, in the user's cache folder.

A file begins with the pixels, picture after picture, each [H, W, C], so that they can be mapped
into memory as they lie there. A checksum of each picture follows, then a description as JSON and a
tail of fixed length. What was cut short lacks the tail; a name always stands for a whole file, as
that is written under another one, flushed and renamed.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import secrets
import shutil
import struct
import time
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from shapecalc.analysis.memory import parse_bytes
from shapecalc.caches import cache_root
from shapecalc.diagnostics import Fault
from shapecalc.training.durable import flush_folder
from shapecalc.training.faults import reason
from shapecalc.training.lock import not_in_workers, take

LIMIT = "SHAPECALC_CACHE_LIMIT"
"""Variables that name another folder, and another limit for decoded pictures."""

_SUFFIX, _PARTIAL = ".pixels", ".partial"
_TAIL = struct.Struct("<QQI20s")
"""Bytes of the checksums and of the description, a checksum of both, and the mark."""
_MARK = b"shapecalc pixels 1\n"
_MOST = 20 * 2**30
_ABANDONED = 24 * 3600.0
"""Seconds after which an unfinished file is taken for abandoned, where there are no locks."""


class Damaged(Exception):
    """A file of the cache is not as it was written; why, as the rest of a sentence."""


@dataclass(frozen=True)
class Description:
    """What is known of the pictures in a file."""

    root: str
    """Where they come from, as the user is to see it."""
    pictures: int
    shape: tuple[int, int, int]
    """[H, W, C]"""
    bad: tuple[tuple[int, str], ...] = ()
    """The pictures of the split that could not be read, by their number, each with the reason;
    they have no pixels here."""

    @property
    def picture(self) -> int:
        """Bytes of one picture."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Entry:
    """A file of the cache that is whole as far as its size and its tail can tell."""

    path: Path
    description: Description
    checksums: tuple[int, ...]
    size: int
    """Bytes on disk."""
    used: float
    """When it was used last, in seconds since 1970."""

    def mapped(self) -> mmap.mmap:
        """The pixels of all pictures, then whatever else is in the file; counts as use."""
        with contextlib.suppress(OSError):  # maybe not ours to touch
            os.utime(self.path)
        with open(self.path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def check(self, pixels: mmap.mmap, numbers: range) -> None:
        """Compare pictures with their checksums. Raises Damaged."""
        size = self.description.picture
        with memoryview(pixels) as view:
            for number in numbers:
                with view[number * size : (number + 1) * size] as one:
                    if zlib.crc32(one) != self.checksums[number]:
                        raise Damaged("has other pixels than were written")


def folder() -> Path:
    """The folder of the decoded pictures."""
    return cache_root() / "decoded"


def find(key: str) -> Entry | None:
    """The entry of a key, if there is one. Raises Damaged."""
    path = _path(key)
    return _read(path) if os.path.exists(path) else None


def remove(key: str) -> None:
    """Remove an entry."""
    _remove(_path(key))


def entries() -> list[Entry]:
    """All whole entries, the last used first."""
    found = []
    for path in _files(_SUFFIX):
        with contextlib.suppress(Damaged):
            found.append(_read(path))
    return sorted(found, key=lambda entry: -entry.used)


def clear() -> tuple[int, int]:
    """Remove all entries and what is left of abandoned ones; how many files, and their bytes."""
    count = total = 0
    abandoned = filter(_is_abandoned, _files(_PARTIAL))
    for path in (*_files(_SUFFIX), *abandoned):
        size = _size(path)
        if _remove(path):
            count, total = count + 1, total + size
    return count, total


def limit() -> int:
    """The most bytes that all entries may take. Raises Fault where $SHAPECALC_CACHE_LIMIT is no
    amount of memory."""
    given = os.environ.get(LIMIT, "").strip()
    if not given:
        return min(_MOST, (_free() + sum(map(_size, _files(_SUFFIX)))) // 2)
    if given == "0":
        return 0
    try:
        return parse_bytes(given)
    except Fault as fault:
        fault.message = f"{LIMIT}: {fault.message}"
        raise


def taken(keys: Collection[str]) -> int:
    """Bytes of the entries of these keys that are there."""
    return sum(_size(_path(key)) for key in keys)


def has_room(size: int, among: Collection[str] = ()) -> bool:
    """Whether so many bytes can be added to the entries of these keys within the limit, and on
    the disk, if all others are removed."""
    kept = taken(among)
    others = sum(map(_size, _files(_SUFFIX))) - kept
    return size + kept <= limit() and size <= _free() + others


def make_room(size: int, among: Collection[str] = ()) -> None:
    """Remove the entries that were not used for longest, but none of these keys, until so many
    bytes can be added."""
    kept = {_path(key) for key in among}
    files = sorted(_files(_SUFFIX), key=_used)
    total = sum(map(_size, files))
    for path in files:
        if total + size <= limit() and size <= _free():
            return
        if path not in kept:
            total -= _size(path)
            _remove(path)


class Writer:
    """Writes an entry under another name until it is whole; what is not finished is removed.

    It gives up at the first error, such as a full disk.
    """

    def __init__(self, key: str, root: str, shape: tuple[int, int, int]) -> None:
        self.failed: OSError | None = None
        """Why it has given up."""
        self._path, self._root, self._shape = _path(key), root, shape
        self._checksums: list[int] = []
        self._file: int | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, pictures: memoryview) -> None:
        """Add the bytes of one picture or several."""
        if self.failed:
            return
        size = math.prod(self._shape)
        for start in range(0, len(pictures), size):
            self._checksums.append(zlib.crc32(pictures[start : start + size]))
        with self._giving_up():
            self._write(self._open(), pictures)

    def finish(self, bad: Sequence[tuple[int, str]]) -> None:
        """Give the entry its name, flushed to disk."""
        if self.failed:
            return
        count = len(self._checksums)
        sums = struct.pack(f"<{count}I", *self._checksums)
        about = Description(self._root, count, self._shape, tuple(bad))
        text = json.dumps(asdict(about)).encode()
        with self._giving_up():
            file = self._open()
            self._write(file, sums + text)
            self._write(file, _TAIL.pack(len(sums), len(text), zlib.crc32(sums + text), _MARK))
            os.fsync(file)
            os.replace(self._beside, self._path)
            flush_folder(self._path.parent)

    def _open(self) -> int:
        """The file, which is there from the first time on."""
        if self._file is None:
            folder().mkdir(parents=True, exist_ok=True)
            for left in filter(_is_abandoned, _files(_PARTIAL)):  # by processes that were killed
                _remove(left)
            self._file = self._own_file()
            self._stack.callback(os.close, self._file)
            self._stack.enter_context(not_in_workers(self._file))
        return self._file

    def _own_file(self) -> int:
        """An open file beside the entry that is locked, for nobody to think it abandoned."""
        while True:
            name = f".{self._path.stem}.{secrets.token_hex(8)}{_PARTIAL}"
            self._beside = self._path.with_name(name)
            # Before it is there, since an interrupt may come at any moment.
            self._stack.callback(_remove, self._beside)
            file = os.open(self._beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            if take(file) is not False and self._beside.exists():
                return file
            os.close(file)  # another process has just come upon it, and removes it

    @staticmethod
    def _write(file: int, data: bytes | memoryview) -> None:
        with memoryview(data) as view:
            at = 0
            while at < len(view):
                at += os.write(file, view[at:])

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failed = error
            self._stack.close()


def _is_abandoned(path: Path) -> bool:
    """Whether nobody writes an unfinished file any more."""
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        locked = take(file)
        return time.time() - _used(path) > _ABANDONED if locked is None else locked
    finally:
        os.close(file)


def _read(path: Path) -> Entry:
    """Raises Damaged."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size < _TAIL.size:
                raise Damaged("is cut short")
            file.seek(-_TAIL.size, os.SEEK_END)
            of_sums, of_text, checksum, mark = _TAIL.unpack(file.read())
            if mark.rstrip(b"\0") != _MARK:
                raise Damaged("is cut short, or of another version")
            pixels = status.st_size - _TAIL.size - of_sums - of_text
            if pixels < 0:
                raise Damaged("is cut short")
            file.seek(pixels)
            sums, text = file.read(of_sums), file.read(of_text)
    except OSError as error:
        raise Damaged(f"cannot be opened: {reason(error).lower()}") from error
    if zlib.crc32(sums + text) != checksum:
        raise Damaged("has another description than was written")
    found = json.loads(text)
    height, width, channels = found["shape"]
    bad = tuple((number, why) for number, why in found["bad"])
    about = Description(found["root"], found["pictures"], (height, width, channels), bad)
    if pixels != about.pictures * about.picture:
        raise Damaged("is not as long as it was")
    checksums = struct.unpack(f"<{of_sums // 4}I", sums)
    return Entry(path, about, checksums, status.st_size, status.st_mtime)


def _path(key: str) -> Path:
    return folder() / f"{key}{_SUFFIX}"


def _files(suffix: str) -> Iterator[Path]:
    with contextlib.suppress(OSError), os.scandir(folder()) as found:
        yield from (Path(item.path) for item in list(found) if item.name.endswith(suffix))


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _used(path: Path) -> float:
    with contextlib.suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _remove(path: Path) -> bool:
    """Whether a file could be removed; on some systems one that is mapped cannot."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _free() -> int:
    """Bytes that are free where the cache is, or will be."""
    place = folder()
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free
