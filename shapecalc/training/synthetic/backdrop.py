"""Grounds to photograph a thing on: studio paper, walls, planks and tiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .cloth import Random, hsv, luminance

Plane = NDArray[np.float32]
Maker = Callable[[Random, int, int, float], Plane]


def cloud(rng: Random, size: tuple[int, int], fewest: int, most: int) -> Image.Image:
    """Smooth noise of 0..255 with `fewest` to `most` bumps along either side."""
    cells = rng.integers(fewest, most + 1, 2)
    seedling = rng.integers(0, 256, (int(cells[0]), int(cells[1])), dtype=np.uint8)
    return Image.fromarray(seedling).resize(size, Image.Resampling.BICUBIC)


def backdrop(rng: Random, size: tuple[int, int], subject: float) -> Plane:
    """A ground for a subject of mean luminance `subject`, far enough from it to be told apart."""
    makers: tuple[Maker, ...] = (_studio, _studio, _sweep, _gradient, _plaster, _wood, _tiles)
    return makers[int(rng.integers(len(makers)))](rng, *size, subject)


def _tone(rng: Random, subject: float, saturation: float, low: float = 70) -> Plane:
    """A ground colour whose luminance keeps its distance from the subject's."""
    colour = np.array(hsv(rng.random(), rng.uniform(0, saturation), 0.9), np.float32)
    want = rng.uniform(low, 245)
    if abs(want - subject) < 38:
        want = subject + 48 if subject < 185 else subject - 48
    tone: Plane = colour * np.float32(want / luminance(colour.tolist()))
    return np.minimum(tone, np.float32(250))


def _studio(rng: Random, w: int, h: int, subject: float) -> Plane:
    tone = _tone(rng, subject, 0.04, 180)
    slope = np.linspace(rng.uniform(-8, 8), rng.uniform(-8, 8), h, dtype=np.float32)
    return np.broadcast_to(tone + slope[:, None, None], (h, w, 3))


def _sweep(rng: Random, w: int, h: int, subject: float) -> Plane:
    """A wall meeting a floor."""
    wall = _tone(rng, subject, 0.25)
    floor = wall * np.float32(rng.uniform(0.75, 1.12))
    edge = h * rng.uniform(0.55, 0.9)
    soft = np.float32(rng.uniform(1.0, 20.0))
    share = 0.5 + 0.5 * np.tanh((np.arange(h, dtype=np.float32) - edge) / soft)
    rows = wall + (floor - wall) * share[:, None].astype(np.float32)
    return np.broadcast_to(rows[:, None, :], (h, w, 3))


def _gradient(rng: Random, w: int, h: int, subject: float) -> Plane:
    one = _tone(rng, subject, 0.45)
    two = one * rng.uniform(0.75, 1.2, 3).astype(np.float32)
    a = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-0.5, 0.5, w, dtype=np.float32)[None, :, None] * np.float32(np.cos(a))
    y = np.linspace(-0.5, 0.5, h, dtype=np.float32)[:, None, None] * np.float32(np.sin(a))
    share: Plane = x + y
    return one + (two - one) * (share + np.float32(0.5))


def _plaster(rng: Random, w: int, h: int, subject: float) -> Plane:
    coarse = np.asarray(cloud(rng, (w, h), 5, 14), np.float32) - 128
    fine = rng.integers(0, 256, (h, w), dtype=np.uint8).astype(np.float32) - 128
    texture = coarse * np.float32(rng.uniform(0.04, 0.16)) + fine * np.float32(rng.uniform(0, 0.1))
    return _tone(rng, subject, 0.3) + texture[..., None]


def _wood(rng: Random, w: int, h: int, subject: float) -> Plane:
    want = _tone(rng, subject, 0.0)[0]
    brown = np.array(hsv(rng.uniform(0.05, 0.11), rng.uniform(0.2, 0.5), 0.9), np.float32)
    tone = brown * np.float32(want / luminance(brown.tolist()))
    upright = rng.random() < 0.5
    across, along = (w, h) if upright else (h, w)
    streaks = rng.integers(0, 256, (4, max(2, across // 2)), dtype=np.uint8)
    streak = Image.fromarray(streaks).resize((across, along), Image.Resampling.BILINEAR)
    planks = int(rng.integers(3, 8))
    at = np.arange(across) * planks / across + rng.random()
    shift = rng.normal(0, 7, planks + 2).astype(np.float32)[at.astype(int)]
    shift -= np.where(at % 1 < planks * 2.0 / across, np.float32(38), np.float32(0))
    texture = (np.asarray(streak, np.float32) - 128) * np.float32(0.11) + shift[None, :]
    ground: Plane = tone + (texture if upright else texture.T)[..., None]
    return ground


def _tiles(rng: Random, w: int, h: int, subject: float) -> Plane:
    tone = _tone(rng, subject, 0.2)
    side = w / rng.uniform(2.2, 5.0)
    x = (np.arange(w) + rng.uniform(0, side)) / side
    y = (np.arange(h) + rng.uniform(0, side)) / side
    joint = ((x % 1)[None, :] < 2.4 / side) | ((y % 1)[:, None] < 2.4 / side)
    plates = rng.normal(0, 4, (16, 16)).astype(np.float32)
    texture = plates[y.astype(int)[:, None] % 16, x.astype(int)[None, :] % 16]
    return tone + np.where(joint, np.float32(rng.uniform(-34, -12)), texture)[..., None]
