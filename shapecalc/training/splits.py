"""Class folders as samples: those for training, for validation and for the test."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from shapecalc.diagnostics import DataError, Diagnostic, nearest
from shapecalc.training.faults import data_error, several
from shapecalc.training.folders import ByClass, Search
from shapecalc.training.images import Resize
from shapecalc.training.samples import Data, FileSamples, Shape
from shapecalc.training.seeds import set_aside

_NAMES = {"train": ("train",), "valid": ("valid", "val", "validation"), "test": ("test",)}
"""The splits, with the names that their folders may have."""
_Splits = Mapping[str, list[Path]]
"""The folders of each split that has any."""


def split_named(name: str) -> str:
    """`train`, `valid` or `test`, by any name that its folder may have. Raises DataError."""
    for split, names in _NAMES.items():
        if name in names:
            return split
    near = nearest(name, _NAMES)
    mend = f"did you mean {near}?" if near else "the splits are train, valid and test"
    raise data_error("E401", f"there is no split {name}", mend)


def find_folder(root: Path, share: float, shape: Shape, resize: Resize, seed: int) -> Data:
    """The data in `root`: in `train/`, `valid/` and `test/`, or class folders without splits.

    Without a folder for validation it gets `share` of each class. Raises DataError.
    """
    search = Search(root)
    splits = _splits(search, root)
    if splits and "train" not in splits:
        raise data_error(
            "E402",
            f"{root} has {_listed(splits)} but no train/",
            f"put the class folders for training into {root / 'train'}",
        )
    notes = []
    train_root = _one(splits, "train") or root
    valid_root, test_root = _one(splits, "valid"), _one(splits, "test")
    if splits:
        beside = set(search.folders(root)).difference(*splits.values())
        notes += [f"ignored {path.name}/ beside train/" for path in sorted(beside)]
    if test_root and not search.folders(test_root):
        notes.append(f"ignored {test_root.name}/, which has no class folders")
        test_root = None

    _expect_two_classes(search, train_root)
    train = search.classes(train_root)
    valid = search.classes(valid_root) if valid_root else {}
    test = search.classes(test_root) if test_root else {}
    _expect_same_classes(root, train, {valid_root: valid, test_root: test})
    if not valid_root:
        train, valid = _cut(train, share, seed, train_root)
        pictures = sum(map(len, valid.values()))
        notes.append(f"set {pictures} pictures aside for validation, {share:.0%} of each class")

    classes = tuple(sorted(train))
    return Data(
        classes,
        _samples(train_root, train, classes, shape, resize),
        _samples(valid_root or train_root, valid, classes, shape, resize),
        _samples(test_root, test, classes, shape, resize) if test_root else None,
        (*search.notes(), *notes),
        root,
    )


def find_split(
    root: Path, split: str | None, classes: tuple[str, ...], shape: Shape, resize: Resize
) -> FileSamples:
    """The pictures of one split of `root`, labelled by their place in `classes`.

    Without a `split` the test, else validation, else training; all of a folder without splits.
    Not every class need be there. Raises DataError.
    """
    search = Search(root)
    splits = _splits(search, root)
    if all(path.name in classes for path in search.folders(root)):
        splits = {}  # a class may be called train
    if split and split not in splits:
        mend = f"it has {_listed(splits)}" if splits else "without a split, all of it is taken"
        raise data_error("E401", f"{root} has no {split}/", mend)
    folder = _one(splits, split or _to_evaluate(search, splits)) or root
    names = [path.name for path in search.folders(folder)]
    inside = _single_with_folders(search, folder)
    expect_known_classes(names, classes, folder, f"did you mean {inside}?" if inside else "")
    return _samples(folder, search.classes(folder), classes, shape, resize)


def expect_known_classes(
    names: Collection[str], classes: Collection[str], root: Path, mend: str = ""
) -> None:
    """Raises DataError where `root` has class `names` that are none of a network's `classes`."""
    unknown = [name for name in names if name not in classes]
    if not unknown:
        return
    lacking = [name for name in classes if name not in names]
    message = f"the classes of {root} and the network differ: the network lacks {several(unknown)}"
    if lacking:
        message += f"; the data lacks {several(lacking)}"
    near = [f"{found} in place of {name}" for name in unknown if (found := nearest(name, lacking))]
    if near and not mend:
        mend = f"did you mean {several(near)}?"
    raise data_error("E403", message, mend or "leave out what the network was not trained on")


def _splits(search: Search, root: Path) -> _Splits:
    by_name = {path.name: path for path in search.folders(root)}
    found = {
        split: [by_name[name] for name in names if name in by_name]
        for split, names in _NAMES.items()
    }
    return {split: folders for split, folders in found.items() if folders}


def _to_evaluate(search: Search, splits: _Splits) -> str:
    """The split that is best to evaluate on."""
    order = [split for split in ("test", "valid", "train") if split in splits]
    if "test" in splits and not search.folders(splits["test"][0]):
        order = [*order[1:], "test"]  # as in training, not by pictures that nobody has sorted
    return order[0] if order else ""


def _listed(splits: _Splits) -> str:
    return several(sorted(f"{path.name}/" for folders in splits.values() for path in folders))


def _one(splits: _Splits, split: str) -> Path | None:
    """The folder of a split. Raises DataError where there are several."""
    folders = splits.get(split, [])
    if len(folders) > 1:
        both = " and ".join(f"{path.name}/" for path in folders)
        raise data_error(
            "E402", f"{folders[0].parent} has {both}", f"keep one of them, named {split}/"
        )
    return folders[0] if folders else None


def _single_with_folders(search: Search, folder: Path) -> Path | None:
    """The only folder in a folder, if it has folders itself: then that one may be meant."""
    folders = search.folders(folder)
    return folders[0] if len(folders) == 1 and search.folders(folders[0]) else None


def _expect_two_classes(search: Search, folder: Path) -> None:
    """A folder named one level too high up would make a single class of everything below."""
    if len(folders := search.folders(folder)) == 1:
        inside = _single_with_folders(search, folder)
        raise data_error(
            "E402",
            f"{folder} has a single class folder, {folders[0].name}/; a classifier needs two",
            f"did you mean {inside}?" if inside else "",
        )


def _expect_same_classes(root: Path, train: ByClass, others: Mapping[Path | None, ByClass]) -> None:
    faults = []
    for folder, classes in others.items():
        if folder is None:
            continue
        missing = {
            folder.name: sorted(set(train) - set(classes)),
            "train": sorted(set(classes) - set(train)),
        }
        lacks = [f"{side}/ lacks {several(gone)}" for side, gone in missing.items() if gone]
        if lacks:
            message = f"the classes of train/ and {folder.name}/ in {root} differ: "
            mend = f"give both the same class folders ({len(train)} and {len(classes)} now)"
            faults.append(Diagnostic("E403", message + "; ".join(lacks), help=mend))
    if faults:
        raise DataError(faults)


def _cut(classes: ByClass, share: float, seed: int, root: Path) -> tuple[ByClass, ByClass]:
    """Each class in two, with `share` of it, and at least one picture, in the second."""
    if single := [name for name, files in classes.items() if len(files) == 1]:
        raise data_error(
            "E402",
            f"{several(single)} in {root} has one picture only, and a split needs two",
            f"add pictures, or make a folder of your own for validation: {root / 'valid'}",
        )
    train, valid = {}, {}
    for name, files in classes.items():
        keys = {Path(file).relative_to(root).as_posix(): file for file in files}
        aside = set_aside(list(keys), share, seed)
        train[name] = [file for key, file in keys.items() if key not in aside]
        valid[name] = [file for key, file in keys.items() if key in aside]
    return train, valid


def _samples(
    root: Path, split: ByClass, classes: tuple[str, ...], shape: Shape, resize: Resize
) -> FileSamples:
    labelled = [(file, i) for i, name in enumerate(classes) for file in split.get(name, ())]
    files, labels = zip(*labelled, strict=True)
    return FileSamples(root, classes, files, labels, shape, resize)
