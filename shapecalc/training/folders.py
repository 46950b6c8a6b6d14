"""What lies in folders: the pictures of each class, and what was passed over to find them."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from pathlib import Path

from shapecalc.diagnostics import DataError, Diagnostic, nearest
from shapecalc.training.faults import data_error, reason, several
from shapecalc.training.images import IMAGE_SUFFIXES

ByClass = dict[str, list[str]]
"""The pictures of each class, as sorted paths."""

_LITTER = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z")


class Search:
    """A look through a folder, which remembers what it passed over."""

    def __init__(self, root: Path) -> None:
        """Raises DataError where `root` is no folder."""
        _expect_folder(root)
        self._root = root
        self._seen: dict[Path, tuple[list[Path], list[Path]]] = {}
        self._litter: defaultdict[str, list[str]] = defaultdict(list)
        """Where things of this name were."""
        self._files: Counter[tuple[str, str]] = Counter()
        """By the words before and behind their number."""

    def classes(self, folder: Path) -> ByClass:
        """The pictures of each class folder, with those of the folders below it.

        Raises DataError where there are no class folders, and for each without pictures.
        """
        folders, files = self._entries(folder)
        if not folders:
            images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in files)
            loose = f"{images} image{'s' * (images > 1)} and " if images else ""
            place = folder / "CLASS" / "1.jpg"
            raise data_error(
                "E402",
                f"{folder} has {loose}no class folders",
                f"put the images of each class into a folder of its own: {place}",
            )
        if files:
            self._files["", f"beside the class folders of {self._place(folder)}"] += len(files)
        classes = {path.name: self.images(path) for path in folders}
        if empty := [path for path in folders if not classes[path.name]]:
            mend = f"fill it or remove it; images end in {', '.join(sorted(IMAGE_SUFFIXES))}"
            raise DataError(
                Diagnostic("E402", f"the class folder {path} has no images", help=mend)
                for path in empty
            )
        return classes

    def folders(self, folder: Path) -> list[Path]:
        """The folders in a folder, sorted by name, without what is hidden. Raises DataError."""
        return self._entries(folder)[0]

    def images(self, folder: Path) -> list[str]:
        """All pictures in a folder and the folders below, sorted. Raises DataError."""
        folders, files = self._entries(folder)
        images = []
        for file in files:
            suffix = file.suffix.lower()
            if suffix in IMAGE_SUFFIXES:
                images.append(str(file))
            else:
                self._files["", f"without an image's suffix ({suffix or 'none'})"] += 1
        for below in folders:
            if below.is_symlink() and folder.resolve().is_relative_to(below.resolve()):
                continue  # a way back up, which would be walked for ever
            images += self.images(below)
        return sorted(images)

    def notes(self) -> list[str]:
        """What was passed over, as sentences for the user."""
        return [
            *(f"ignored {name} in {several(places)}" for name, places in self._litter.items()),
            *(
                f"ignored {count} {kind}file{'s' * (count != 1)} {where}"
                for (kind, where), count in self._files.items()
            ),
        ]

    def _entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The folders and the files in a folder, sorted by name, without what is hidden."""
        if folder in self._seen:
            return self._seen[folder]
        folders, files = self._seen[folder] = [], []
        try:
            for path in sorted(folder.iterdir()):
                if path.name in _LITTER or (path.name.startswith(".") and path.is_dir()):
                    self._litter[path.name].append(self._place(folder))
                elif path.name.startswith("."):
                    self._files["hidden ", f"in {self._place(folder)}"] += 1
                elif path.is_dir():
                    folders.append(path)
                elif path.is_file() or path.is_symlink():  # a broken link is missed when read
                    files.append(path)
        except OSError as error:
            raise data_error("E401", f"{folder} cannot be opened: {reason(error)}") from error
        return folders, files

    def _place(self, folder: Path) -> str:
        """A folder as the notes call it."""
        below = folder.relative_to(self._root)
        return f"{below.as_posix() if below.parts else self._root}/"


def _expect_folder(root: Path) -> None:
    try:
        if root.is_dir():
            return
        exists = root.exists()
    except OSError as error:
        raise data_error("E401", f"{root} cannot be opened: {reason(error)}") from error
    if exists:
        packed = root.name.lower().endswith(_PACKED)
        mend = (
            "unpack it and name the folder"
            if packed
            else "name the folder that holds the class folders"
        )
        raise data_error("E401", f"{root} is a file, not a folder of class folders", mend)
    raise data_error("E401", f"there is no folder {root}", _instead_of(root))


def _instead_of(root: Path) -> str:
    """The mend for a folder that does not exist: the one that its name comes closest to."""
    above = (root, *root.parents)  # os.path.exists is False too where it may not be looked at
    missing = next((path for path in above if os.path.exists(path.parent)), root)
    with contextlib.suppress(OSError):
        siblings = [path.name for path in missing.parent.iterdir() if path.is_dir()]
        if near := nearest(missing.name, siblings):
            suggested = missing.with_name(near) / root.relative_to(missing)
            return f"did you mean {suggested if suggested.is_dir() else missing.with_name(near)}?"
    return f"{missing.parent.absolute()} has no folder {missing.name}; --data names another one"
