"""Smooth paths and the surfaces between two of them, as arrays of points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Curve = NDArray[np.float64]
Point = tuple[float, float]


def curve(*points: Point, closed: bool = False, steps: int = 7) -> Curve:
    """A Catmull-Rom curve through `points`, `steps` samples to a span."""
    p = np.asarray(points, dtype=np.float64)
    if closed:
        knots = np.concatenate([p[-1:], p, p[:2]])
    else:
        knots = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    a, b, c, d = knots[:-3, None], knots[1:-2, None], knots[2:-1, None], knots[3:, None]
    t = (np.arange(steps) / steps)[None, :, None]
    spans = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    path = spans.reshape(-1, 2)
    return path if closed else np.concatenate([path, p[-1:]])


def line(*points: Point) -> Curve:
    return np.asarray(points, dtype=np.float64)


def joined(*parts: Curve) -> Curve:
    return np.concatenate(parts)


def shifted(path: Curve, x: float, y: float) -> Curve:
    moved: Curve = path + np.array([x, y])
    return moved


def flipped(path: Curve) -> Curve:
    """`path` mirrored left to right."""
    return path * (-1.0, 1.0)


def mirrored(half: Curve) -> Curve:
    """The outline symmetric about x = 0 whose right half runs from top centre to bottom centre."""
    return joined(half, flipped(half)[::-1])


def oval(x: float, y: float, rx: float, ry: float, steps: int = 16) -> Curve:
    a = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    return np.stack([x + rx * np.cos(a), y + ry * np.sin(a)], axis=1)


def box(x0: float, y0: float, x1: float, y1: float) -> Curve:
    return line((x0, y0), (x1, y0), (x1, y1), (x0, y1))


@dataclass(frozen=True)
class Strip:
    """The surface between two rails of equally many samples: a sleeve, a leg, a drape, a sole."""

    left: Curve
    right: Curve

    @property
    def outline(self) -> Curve:
        return joined(self.left, self.right[::-1])

    @property
    def flipped(self) -> Strip:
        return Strip(flipped(self.left), flipped(self.right))

    def rail(self, across: float) -> Curve:
        """The line that keeps `across` of the way from the left rail to the right one."""
        return self.left + (self.right - self.left) * across

    def part(self, start: float, end: float, left: float = 0.0, right: float = 1.0) -> Strip:
        """The stretch from `start` to `end` along, from `left` to `right` across, all in 0..1."""
        at = np.linspace(start, end, max(2, round((end - start) * len(self.left)))) * (
            len(self.left) - 1
        )
        index = np.arange(len(self.left))

        def cut(path: Curve) -> Curve:
            columns = [np.interp(at, index, path[:, k]) for k in (0, 1)]
            return np.stack(columns, axis=1)

        return Strip(cut(self.rail(left)), cut(self.rail(right)))
