"""How a layer's window lies on the pixels of its input, axis by axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd
from typing import NamedTuple

from shapecalc.geometry import extent
from shapecalc.layers.base import AXES, Window
from shapecalc.tracer import Row

SLIDING = ("conv", "max_pool", "avg_pool", "lp_pool")
"""The kinds that slide a window over their input."""


class Axis(NamedTuple):
    """A window along one axis."""

    name: str
    size: int
    out: int
    kernel: int
    dilation: int
    stride: int
    padding: int
    """On the left."""

    @property
    def extent(self) -> int:
        """Pixels that the window spans."""
        return extent(self.kernel, self.dilation)

    @property
    def left_over(self) -> int:
        """Pixels at the end that no window reaches; negative where padding is reached."""
        return self.size + self.padding - (self.out - 1) * self.stride - self.extent

    @property
    def met(self) -> int:
        """Of `stride` neighbouring pixels, how many some window meets."""
        return min(self.kernel, self.stride // gcd(self.stride, self.dilation))

    @property
    def skips(self) -> bool:
        """Whether there are pixels between those that windows meet."""
        return self.out > 1 and self.met < self.stride


def axes(row: Row) -> list[Axis]:
    """The window of a sliding layer along each axis."""
    layer, sizes = row.layer, row.input_shape[1:]
    assert isinstance(layer, Window)
    return [
        Axis(name, size, out, *window)
        for name, size, out, window in zip(
            AXES[len(sizes)], sizes, row.output_shape[1:], layer.windows(sizes), strict=True
        )
    ]


def one(values: Iterable[int]) -> int | tuple[int, ...]:
    """A number for each axis as it is written: just one where all are the same."""
    given = tuple(values)
    return given[0] if len(set(given)) == 1 else given


def along(found: Sequence[Axis]) -> str:
    """Where something is the case: `along height and width`."""
    *names, last = (axis.name for axis in found)
    return f"along {', '.join(names)} and {last}" if names else f"along {last}"
