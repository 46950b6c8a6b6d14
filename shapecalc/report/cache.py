"""The cache of decoded pictures, as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shapecalc.analysis.memory import in_units

if TYPE_CHECKING:
    from shapecalc.training.store import Entry

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def as_text(entries: Sequence[Entry], folder: Path, limit: int, now: float) -> str:
    """A line for each entry, the last used first, then their sum and the limit."""
    size = sum(entry.size for entry in entries)
    images = sum(entry.description.pictures for entry in entries)
    total = f"{images:,} images, {in_units(size)} of at most {in_units(limit)} in {folder}"
    rows = [
        (
            entry.description.root,
            f"{entry.description.pictures:,}",
            "x".join(map(str, entry.description.shape[:2])),
            in_units(entry.size),
            _ago(now - entry.used),
        )
        for entry in entries
    ]
    if not rows:
        return total
    head = ("data", "images", "pixels", "size", "last used")
    left, *widths = (max(map(len, column)) for column in zip(head, *rows, strict=True))
    lines = [
        "  ".join([row[0].ljust(left), *map(str.rjust, row[1:], widths)]) for row in (head, *rows)
    ]
    return "\n".join([*lines, total])


def as_json(entries: Sequence[Entry], folder: Path, limit: int) -> str:
    data = {
        "folder": str(folder),
        "limit": limit,
        "size": sum(entry.size for entry in entries),
        "entries": [
            {
                "data": entry.description.root,
                "images": entry.description.pictures,
                "pixels": list(entry.description.shape[:2]),
                "unreadable": len(entry.description.bad),
                "size": entry.size,
                "last_used": datetime.fromtimestamp(entry.used, UTC).isoformat(timespec="seconds"),
                "file": str(entry.path),
            }
            for entry in entries
        ],
    }
    return json.dumps(data, indent=2)


def cleared_text(count: int, size: int, folder: Path) -> str:
    """What was removed."""
    return f"removed {count} file{'s' * (count != 1)}, {in_units(size)}, from {folder}"


def cleared_json(count: int, size: int, folder: Path) -> str:
    return json.dumps({"folder": str(folder), "removed": count, "size": size}, indent=2)


def _ago(seconds: float) -> str:
    for name, length in _UNITS:
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {name}{'s' * (number > 1)} ago"
    return "just now"
