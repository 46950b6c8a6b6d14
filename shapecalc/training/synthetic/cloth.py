"""Colours drawn at random from a family, and cloth woven or printed with them."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Random = np.random.Generator

TILE = 64  # texels along a side of a cloth tile; a power of two, so wrapping is a mask


# --- colour ---------------------------------------------------------------------------------


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """The 8-bit RGB colour of a hue (wrapping at 1), saturation and value (clipped to 0..1)."""
    s, v = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    r, g, b = colorsys.hsv_to_rgb(hue % 1.0, s, v)
    return round(r * 255), round(g * 255), round(b * 255)


def vivid(rng: Random) -> Colour:
    return hsv(rng.random(), rng.uniform(0.65, 0.95), rng.uniform(0.6, 0.95))


def pastel(rng: Random) -> Colour:
    return hsv(rng.random(), rng.uniform(0.12, 0.4), rng.uniform(0.85, 0.98))


def neutral(rng: Random) -> Colour:
    return hsv(rng.uniform(0.03, 0.15), rng.uniform(0.0, 0.15), rng.uniform(0.12, 0.9))


def earth(rng: Random) -> Colour:
    return hsv(rng.uniform(0.03, 0.14), rng.uniform(0.25, 0.65), rng.uniform(0.3, 0.85))


def deep(rng: Random) -> Colour:
    return hsv(rng.random(), rng.uniform(0.4, 0.8), rng.uniform(0.2, 0.45))


def white(rng: Random) -> Colour:
    return hsv(rng.uniform(0.05, 0.17), rng.uniform(0.0, 0.1), rng.uniform(0.9, 0.98))


def black(rng: Random) -> Colour:
    return hsv(rng.random(), rng.uniform(0.0, 0.25), rng.uniform(0.07, 0.16))


def gold(rng: Random) -> Colour:
    return hsv(rng.uniform(0.1, 0.14), rng.uniform(0.45, 0.75), rng.uniform(0.7, 0.95))


def cool(rng: Random) -> Colour:
    """Shirt blues."""
    return hsv(rng.uniform(0.53, 0.68), rng.uniform(0.2, 0.7), rng.uniform(0.5, 0.95))


def cream(rng: Random) -> Colour:
    return hsv(rng.uniform(0.09, 0.14), rng.uniform(0.1, 0.3), rng.uniform(0.85, 0.96))


def jewel(rng: Random) -> Colour:
    """Saturated festive dyes."""
    hue = rng.choice([0.97, 0.0, 0.08, 0.12, 0.35, 0.48, 0.6, 0.78, 0.88]) + rng.normal(0, 0.02)
    return hsv(hue, rng.uniform(0.65, 0.95), rng.uniform(0.5, 0.9))


def suiting(rng: Random) -> Colour:
    """Navy and charcoal."""
    return hsv(rng.uniform(0.58, 0.68), rng.uniform(0.1, 0.45), rng.uniform(0.16, 0.38))


def khaki(rng: Random) -> Colour:
    return hsv(rng.uniform(0.08, 0.13), rng.uniform(0.15, 0.4), rng.uniform(0.55, 0.85))


def leather(rng: Random) -> Colour:
    """Blacks, browns, tans and oxblood."""
    hue = rng.choice([0.03, 0.05, 0.07, 0.99])
    return hsv(hue, rng.uniform(0.45, 0.75), rng.uniform(0.18, 0.55))


def olive(rng: Random) -> Colour:
    return hsv(rng.uniform(0.13, 0.28), rng.uniform(0.25, 0.55), rng.uniform(0.25, 0.5))


def pinks(rng: Random) -> Colour:
    return hsv(rng.uniform(0.84, 1.02), rng.uniform(0.3, 0.8), rng.uniform(0.75, 0.98))


def shaded(colour: Colour, factor: float) -> Colour:
    """`colour` darkened (factor < 1) or lightened towards white (factor > 1)."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in colour)
    else:
        r, g, b = (round(c + (255 - c) * min(factor - 1, 1.0)) for c in colour)
    return r, g, b


def contrast(rng: Random, colour: Colour) -> Colour:
    """A colour that stands out against `colour`: light on dark, dark on light, or another hue."""
    if rng.random() < 0.45:
        return white(rng) if luminance(colour) < 140 else deep(rng)
    r, g, b = (c / 255 for c in colour)
    hue, _, value = colorsys.rgb_to_hsv(r, g, b)
    turn = rng.uniform(0.25, 0.75)
    return hsv(hue + turn, rng.uniform(0.5, 0.9), 0.9 if value < 0.6 else rng.uniform(0.25, 0.5))


def luminance(colour: Sequence[float]) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def chosen(rng: Random, *makers: Callable[[Random], Colour]) -> Colour:
    """A colour from one of the `makers`, picked evenly; name one twice to favour it."""
    return makers[int(rng.integers(len(makers)))](rng)


# --- cloth ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cloth:
    """A tile repeated over the plane: `pitch` units to a tile, turned by `angle` radians."""

    tile: NDArray[np.uint32]
    pitch: float
    base: Colour
    angle: float = 0.0

    def turned(self, angle: float) -> Cloth:
        return replace(self, angle=self.angle + angle)


Fill = Colour | Cloth


def base(fill: Fill) -> Colour:
    """The ground colour of a fill, for the seams and linings that go with it."""
    return fill.base if isinstance(fill, Cloth) else fill


def woven(image: Image.Image, pitch: float, ground: Colour) -> Cloth:
    tile = np.asarray(image.convert("RGBX"), dtype=np.uint8).view(np.uint32).reshape(TILE, TILE)
    return Cloth(np.ascontiguousarray(tile), pitch, ground)


def _blank(ground: Colour) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (TILE, TILE), ground)
    return image, ImageDraw.Draw(image)


def _bars(draw: ImageDraw.ImageDraw, rng: Random, ink: Sequence[Colour], upright: bool) -> None:
    count = int(rng.choice([1, 2, 2, 4]))
    cell = TILE // count
    thick = max(2, round(cell * rng.uniform(0.12, 0.5)))
    for i in range(count):
        start = i * cell
        end = start + thick - 1
        span = (start, 0, end, TILE) if upright else (0, start, TILE, end)
        draw.rectangle(span, ink[i % len(ink)])


def stripes(rng: Random, ground: Colour, *ink: Colour, upright: bool = True) -> Cloth:
    image, draw = _blank(ground)
    _bars(draw, rng, ink, upright)
    return woven(image, rng.uniform(0.16, 0.45), ground)


def checks(rng: Random, ground: Colour, *ink: Colour) -> Cloth:
    image, across = _blank(ground)
    _bars(across, rng, ink, upright=True)
    other, along = _blank(ground)
    _bars(along, rng, ink[::-1], upright=False)
    return woven(Image.blend(image, other, 0.5), rng.uniform(0.16, 0.4), ground)


def dots(rng: Random, ground: Colour, ink: Colour) -> Cloth:
    image, draw = _blank(ground)
    r = rng.uniform(4, 10)
    for x, y in ((16, 16), (48, 48)):
        draw.ellipse((x - r, y - r, x + r, y + r), ink)
    return woven(image, rng.uniform(0.1, 0.28), ground)


def blossom(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    r: float,
    ink: Colour,
    heart: Colour,
    petals: int,
    phase: float,
) -> None:
    """A flower in pixels, drawn again across each edge it passes so that a tile wraps."""
    for dx in (-TILE, 0, TILE):
        for dy in (-TILE, 0, TILE):
            if not (-r < x + dx < TILE + r and -r < y + dy < TILE + r):
                continue
            for k in range(petals):
                a = phase + 2 * np.pi * k / petals
                cx, cy, s = x + dx + 0.6 * r * np.cos(a), y + dy + 0.6 * r * np.sin(a), 0.42 * r
                draw.ellipse((cx - s, cy - s, cx + s, cy + s), ink)
            s = 0.3 * r
            draw.ellipse((x + dx - s, y + dy - s, x + dx + s, y + dy + s), heart)


def floral(rng: Random, ground: Colour, *ink: Colour) -> Cloth:
    image, draw = _blank(ground)
    leaf = hsv(rng.uniform(0.22, 0.42), rng.uniform(0.4, 0.7), rng.uniform(0.35, 0.65))
    for x, y in ((14, 18), (46, 50), (50, 12), (16, 52)):
        r = rng.uniform(6, 13)
        a = rng.uniform(0, 2 * np.pi)
        draw.line((x, y, x + 1.5 * r * np.cos(a), y + 1.5 * r * np.sin(a)), leaf, 3)
        hue = ink[int(rng.integers(len(ink)))]
        blossom(
            draw,
            x + rng.uniform(-3, 3),
            y + rng.uniform(-3, 3),
            r,
            hue,
            shaded(ground, 1.4),
            int(rng.integers(4, 7)),
            a,
        )
    return woven(image, rng.uniform(0.22, 0.5), ground)


def motifs(rng: Random, ground: Colour, ink: Colour) -> Cloth:
    """Small block-printed drops and lozenges, half a tile apart."""
    image, draw = _blank(ground)
    r = rng.uniform(6, 11)
    drop = rng.random() < 0.5
    for x, y in ((16, 16), (48, 48)):
        if drop:
            draw.polygon([(x, y - 1.5 * r), (x + 0.7 * r, y), (x - 0.7 * r, y)], ink)
            draw.ellipse((x - 0.75 * r, y - 0.6 * r, x + 0.75 * r, y + r), ink)
            draw.ellipse((x - 0.3 * r, y - 0.1 * r, x + 0.3 * r, y + 0.5 * r), ground)
        else:
            draw.polygon([(x, y - r), (x + 0.6 * r, y), (x, y + r), (x - 0.6 * r, y)], ink)
    return woven(image, rng.uniform(0.14, 0.3), ground)


def grain(
    rng: Random, ground: Colour, amount: float, pitch: float = 0.3, twill: bool = False
) -> Cloth:
    """A speckled ground: `amount` levels of noise, along the diagonal if `twill`."""
    noise = rng.normal(0, amount, (TILE, TILE, 1))
    if twill:
        noise = noise + np.roll(noise, (1, 1), (0, 1)) + np.roll(noise, (2, 2), (0, 1))
    speckled = np.clip(np.asarray(ground) + noise, 0, 255).astype(np.uint8)
    return woven(Image.fromarray(speckled), pitch, ground)


def mesh(rng: Random, ground: Colour) -> Cloth:
    image, draw = _blank(ground)
    for y in range(0, TILE, 8):
        for x in range((y // 8 % 2) * 4, TILE, 8):
            draw.rectangle((x, y, x + 3, y + 3), shaded(ground, 0.72))
    return woven(image, rng.uniform(0.16, 0.26), ground)


def border(rng: Random, ground: Colour, ink: Colour) -> Cloth:
    """A brocade ribbon: lozenges and fine lines on a ground."""
    cloth = motifs(rng, ground, ink)
    return Cloth(cloth.tile, rng.uniform(0.08, 0.13), ground)


def print_cloth(rng: Random, ground: Colour) -> Fill:
    """Plain, floral, dotted, block-printed or finely striped cloth on a ground."""
    ink, other = contrast(rng, ground), vivid(rng)
    kind = int(rng.integers(6))
    if kind <= 1:
        return floral(rng, ground, ink, other, white(rng))
    if kind == 2:
        return dots(rng, ground, ink)
    if kind == 3:
        return motifs(rng, ground, ink)
    if kind == 4:
        return stripes(rng, ground, ink, other)
    return ground
