"""Two networks side by side, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from shapecalc.layers.base import COMMON
from shapecalc.tracer import Row, Trace

Mark = Literal["same", "changed", "removed", "added"]

MOST = 4_000_000
"""Pairs of layers that are compared in search of those alike; beyond, layers go by their number."""


@dataclass(frozen=True)
class Pair:
    """A layer of each network that stand for each other, or one that the other network lacks."""

    mark: Mark
    first: Row | None
    second: Row | None
    differs: tuple[str, ...] = ()
    """Of a changed layer, what is not the same: arguments, input_shape, output_shape, params,
    macs."""


@dataclass(frozen=True)
class Difference:
    """Two networks, their layers in pairs; containers are left out."""

    first: Trace
    second: Trace
    pairs: tuple[Pair, ...]

    @property
    def parting(self) -> Pair | None:
        """The first pair that is not the same; None where all are."""
        return next((pair for pair in self.pairs if pair.mark != "same"), None)


def diff(first: Trace, second: Trace) -> Difference:
    """The layers of two networks, aligned by kind and arguments, then by kind alone."""
    return Difference(first, second, tuple(_pairs(list(first.leaves), list(second.leaves))))


def _pairs(first: Sequence[Row], second: Sequence[Row]) -> Iterator[Pair]:
    for ours, theirs in _aligned(first, second, [_written, lambda row: row.kind]):
        if ours is None or theirs is None:
            yield Pair("removed" if theirs is None else "added", ours, theirs)
            continue
        names = ("arguments", "input_shape", "output_shape", "params", "macs")
        differs = tuple(name for name in names if getattr(ours, name) != getattr(theirs, name))
        if ours.kind != theirs.kind:
            differs = ("kind", *differs)
        yield Pair("changed" if differs else "same", ours, theirs, differs)


def _aligned(
    first: Sequence[Row], second: Sequence[Row], keys: Sequence[Any]
) -> Iterator[tuple[Row | None, Row | None]]:
    """Pairs of rows with the same key, those between them paired by the next key."""
    if not keys or not first or not second or len(first) * len(second) > MOST:
        yield from _by_number(first, second) if first and second and keys else _apart(first, second)
        return
    key, *others = keys
    ours, theirs = list(map(key, first)), list(map(key, second))
    start = 0, 0
    for size, a, c in _blocks(ours, theirs):
        yield from _aligned(first[start[0] : a], second[start[1] : c], others)
        yield from zip(first[a : a + size], second[c : c + size], strict=True)
        start = a + size, c + size


def _blocks(ours: Sequence[Any], theirs: Sequence[Any]) -> Iterator[tuple[int, int, int]]:
    """The stretches of keys that are alike, as (size, start in ours, start in theirs), the last of
    size 0 at the end.

    What only one of both has goes as far down as it can: of three equal blocks where the other
    network has two, the third is the new one.
    """
    found = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    a = c = 0
    for block in found:
        size, shared = block.size, 0
        if block.a == a or block.b == c:  # up to here only one has something
            while shared < size and ours[a + shared] == theirs[c + shared]:
                shared += 1
        if shared:
            yield shared, a, c
        a, c = block.a + shared, block.b + shared
        if size > shared or not size:
            yield size - shared, a, c
        a, c = block.a + size, block.b + size


def _apart(first: Sequence[Row], second: Sequence[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    yield from ((row, None) for row in first)
    yield from ((None, row) for row in second)


def _by_number(
    first: Sequence[Row], second: Sequence[Row]
) -> Iterator[tuple[Row | None, Row | None]]:
    for ours, theirs in zip(first, second, strict=False):
        if ours.kind == theirs.kind:
            yield ours, theirs
        else:
            yield from _apart([ours], [theirs])
    count = min(len(first), len(second))
    yield from _apart(first[count:], second[count:])


def _written(row: Row) -> tuple[str, str]:
    """A layer's kind and its arguments as the spec has them, without those that are inferred."""
    fields = type(row.layer).model_fields
    return row.kind, repr([getattr(row.layer, name) for name in fields if name not in COMMON])
