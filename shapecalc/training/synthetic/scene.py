"""The canvas: a posed picture painted in pieces with a relief, then lit and photographed.

Shapes are given in *units*: the subject lies in the square from -1 to 1, x to the right and
y downwards. A `Scene` turns units into pixels through its pose (flip, turn, size, shift and a
gentle warp), so a category describes only the thing itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .backdrop import Plane, backdrop, cloud
from .cloth import TILE, Cloth, Fill, Random
from .curves import Curve, Point, oval

GROUND = 110  # relief level of an ordinary piece
BRIGHTEST = 1.5  # the most that light may multiply a colour by


class Scene:
    """One picture in the making: paint pieces from back to front, then `finish` it.

    `size` is the nominal picture size in pixels; the picture itself is 7/8 to 9/8 of it wide
    and between square and 3:4 upright.
    """

    def __init__(self, rng: Random, size: int) -> None:
        self.rng = rng
        self.width = round(size * rng.uniform(0.875, 1.125))
        self.height = round(min(self.width * rng.uniform(1.0, 4 / 3), 1.125 * size))
        self.height = max(self.height, self.width)
        self.mirror = bool(rng.random() < 0.5)
        self.wrinkle = 1.0
        self.gloss = 0.0
        angle = float(np.clip(rng.normal(0, 6.5), -15, 15)) * np.pi / 180
        half = self.width / 2
        self.unit = half * rng.uniform(0.78, 1.02)
        cos, sin = self.unit * np.cos(angle), self.unit * np.sin(angle)
        self._matrix = np.array([[cos, -sin], [sin, cos]])
        if self.mirror:
            self._matrix[:, 0] *= -1
        slack = np.array([half, self.height / 2]) - self.unit * 0.97
        shift = np.maximum(slack, 0) * rng.uniform(-0.85, 0.85, 2)
        self._centre = np.array([half, self.height / 2]) + shift
        self._sway = rng.uniform(0.008, 0.026, 2)
        self._beat = rng.uniform(1.5, 3.2, 2)
        self._phase = rng.uniform(0, 2 * np.pi, 2)
        self._place = np.eye(2)
        self._offset = np.zeros(2)
        full, half_size = (self.width, self.height), (self.width // 2 + 1, self.height // 2 + 1)
        # The fourth channel is the cover. Painting opaque colours on black leaves them multiplied
        # by it; in RGBA, Pillow would not blend a fill with transparent pixels.
        self._layer = Image.new("RGBX", full)
        self._relief = Image.new("L", half_size)
        self._sheen = Image.new("L", half_size)
        self._contour = ImageDraw.Draw(self._relief)
        self._glint = ImageDraw.Draw(self._sheen)
        self._clip: Image.Image | None = None

    # --- placing ---

    @contextmanager
    def placed(
        self, x: float, y: float, scale: float = 1.0, angle: float = 0.0, mirror: bool = False
    ) -> Iterator[None]:
        """Within it, shapes are mirrored, scaled, turned by `angle` and moved to (x, y).

        The angle is in radians, the place in units.
        """
        before = self._place, self._offset
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]]) * (-1.0 if mirror else 1.0, 1.0)
        self._offset = before[0] @ np.array([x, y]) + before[1]
        self._place = before[0] @ turn
        try:
            yield
        finally:
            self._place, self._offset = before

    @contextmanager
    def inside(self, outline: Curve) -> Iterator[None]:
        """Within it, paint falls only inside `outline`."""
        before = self._clip
        mask, corner = self._mask([outline], [])
        self._clip = Image.new("L", self._layer.size)
        self._clip.paste(mask, corner)
        if before is not None:
            self._clip = ImageChops.multiply(self._clip, before)
        try:
            yield
        finally:
            self._clip = before

    def pixels(self, path: Curve) -> Curve:
        """`path` in pixels of the picture."""
        p = path @ self._place.T + self._offset
        wave = np.sin(p[:, ::-1] * self._beat + self._phase) * self._sway
        placed: Curve = (p + wave) @ self._matrix.T + self._centre
        return placed

    def _span(self, width: float) -> float:
        return float(width * self.unit * np.sqrt(abs(np.linalg.det(self._place))))

    def _mask(
        self, areas: Sequence[Curve], strokes: Sequence[tuple[Curve, float]]
    ) -> tuple[Image.Image, tuple[int, int]]:
        """The cover of areas and strokes, smoothed, and where its top left corner belongs."""
        shapes = [self.pixels(area) for area in areas]
        paths = [(self.pixels(path), self._span(width)) for path, width in strokes]
        corners = [*shapes, *(p + s for p, w in paths for s in (-w - 1, w + 1))]
        every = np.concatenate(corners)
        low = np.maximum(np.floor(every.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(every.max(0)).astype(int) + 2, self._layer.size)
        low = np.minimum(low, np.array(self._layer.size) - 1)
        wide, tall = (int(n) for n in np.maximum(high - low, 1))
        mask = Image.new("L", (wide * 2, tall * 2))
        draw = ImageDraw.Draw(mask)
        for shape in shapes:
            draw.polygon(((shape - low) * 2).ravel().tolist(), 255)
        for path, width in paths:
            thick = max(1, round(width * 2))
            # Rounding the joints is slow, and shows on thick lines only.
            joint = "curve" if thick > 7 else None
            draw.line(((path - low) * 2).ravel().tolist(), 255, thick, joint)
        return mask.reduce(2), (int(low[0]), int(low[1]))

    # --- painting ---

    def paint(self, fill: Fill, *areas: Curve, level: int | None = None) -> None:
        """Fills the closed `areas`; with a `level` (0..255) they stand in relief at that height."""
        self._lay(fill, *self._mask(areas, []))
        if level is not None:
            for area in areas:
                self._contour.polygon((self.pixels(area) / 2).ravel().tolist(), level)

    def stroke(self, fill: Fill, width: float, *paths: Curve, level: int | None = None) -> None:
        """Draws open `paths`, `width` units thick."""
        self._lay(fill, *self._mask([], [(path, width) for path in paths]))
        if level is not None:
            for path in paths:
                thick = max(1, round(self._span(width) / 2))
                self._contour.line((self.pixels(path) / 2).ravel().tolist(), level, thick)

    def stitch(self, fill: Fill, width: float, path: Curve, dash: float = 0.022) -> None:
        """Draws `path` as a dashed line, `dash` units to a stitch."""
        steps = np.hypot(*np.diff(path, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        at = np.arange(0, max(along[-1], dash), dash)
        ends = np.stack([np.interp(at, along, path[:, k]) for k in (0, 1)], axis=1)
        pairs = ends[: len(ends) // 2 * 2].reshape(-1, 2, 2)
        if len(pairs):
            self.stroke(fill, width, *pairs)

    def spots(self, fill: Fill, radius: float, *centres: Point, level: int | None = None) -> None:
        """Paints discs: buttons, eyelets, beads."""
        self.paint(fill, *(oval(x, y, radius, radius, 12) for x, y in centres), level=level)

    def fold(self, path: Curve, width: float, height: int) -> None:
        """Raises (height > 0) or sinks a soft crease in the relief, `width` units across."""
        points = (self.pixels(path) / 2).ravel().tolist()
        span = self._span(width) / 2
        for share in (1.0, 0.66, 0.33):
            level = GROUND + round(height * (1.15 - share))
            self._contour.line(points, level, max(1, round(span * share)))

    def shine(self, path: Curve, width: float, strength: int) -> None:
        """Lays a soft highlight or a faded streak along `path`; `strength` is in levels of 255."""
        points = (self.pixels(path) / 2).ravel().tolist()
        self._glint.line(points, strength, max(1, round(self._span(width) / 2)))

    def _lay(self, fill: Fill, mask: Image.Image, corner: tuple[int, int]) -> None:
        area = (*corner, corner[0] + mask.width, corner[1] + mask.height)
        if self._clip is not None:
            mask = ImageChops.multiply(mask, self._clip.crop(area))
        paint = self._woven(fill, area) if isinstance(fill, Cloth) else (*fill, 255)
        self._layer.paste(paint, area, mask)

    def _woven(self, cloth: Cloth, area: tuple[int, int, int, int]) -> Image.Image:
        """The part of `cloth` that lies over a pixel box, in 16-bit fixed point for speed."""
        turn = np.array(
            [
                [np.cos(cloth.angle), np.sin(cloth.angle)],
                [-np.sin(cloth.angle), np.cos(cloth.angle)],
            ]
        )
        texels = turn @ np.linalg.inv(self._matrix @ self._place) * (TILE / cloth.pitch) * 1024
        x = np.arange(area[0], area[2]) - self._centre[0]
        y = np.arange(area[1], area[3]) - self._centre[1]
        u, v = (
            (across * x).astype(np.int32)[None, :] + (down * y).astype(np.int32)[:, None]
            for across, down in texels
        )
        index = ((v >> 10) & (TILE - 1)) * TILE + ((u >> 10) & (TILE - 1))
        texture = np.take(cloth.tile.ravel(), index)
        size = area[2] - area[0], area[3] - area[1]
        return Image.frombuffer("RGBX", size, texture.tobytes(), "raw", "RGBX", 0, 1)

    # --- finishing ---

    def finish(self) -> Image.Image:
        """The picture: the pieces under a light, on a backdrop, as a camera might see them."""
        rng = self.rng
        size = (self.width, self.height)
        toward = rng.uniform(-np.pi * 0.9, -np.pi * 0.1)
        light = np.array([np.cos(toward), np.sin(toward)])
        falloff = self._falloff(light)
        cover = self._layer.getchannel("X")
        # Everything is kept at 1 / BRIGHTEST of its level until the last table, so that
        # highlights have room.
        gain = self._shade(light, cover) * falloff * np.float32(255)
        ground = backdrop(rng, self._relief.size, self._mean_luminance(cover))
        ground = ground * (self._shadow(light, cover) * falloff)[..., None]
        both = _levels(ground * np.float32(1 / BRIGHTEST), gain * np.float32(1 / BRIGHTEST))
        image = both.resize(size, Image.Resampling.BILINEAR)
        lights = Image.merge("RGBX", (image.getchannel("X"),) * 4)
        lit = ImageChops.multiply(self._layer, lights).convert("RGB")
        if self._sheen.getextrema() != (0, 0):
            sheen = self._sheen.filter(ImageFilter.GaussianBlur(self.unit / 80))
            gleam = ImageChops.multiply(sheen.resize(size, Image.Resampling.BILINEAR), cover)
            lit = ImageChops.add(lit, Image.merge("RGB", (gleam,) * 3))
        image = image.convert("RGB")
        image.paste(0, mask=cover)
        image = ImageChops.add_modulo(image, lit)
        if rng.random() < 0.5:
            for x, y in ((1, 0), (0, 1)):
                image = Image.blend(image, ImageChops.offset(image, x, y), rng.uniform(0, 0.5))
        contrast, offset = rng.uniform(0.9, 1.12), rng.uniform(-10, 10)
        levels = (np.arange(256) * BRIGHTEST - 128) * contrast + 128 + offset
        tone = np.clip(np.round(levels), 0, 255).astype(int).tolist()
        noise = Image.frombytes("L", size, rng.bytes(self.width * self.height))
        grainy = Image.merge("RGB", (noise,) * 3)
        return Image.blend(image.point(tone * 3), grainy, rng.uniform(0.0, 0.04))

    def _shade(self, light: Curve, cover: Image.Image) -> Plane:
        """Gain of the light on the pieces, at half size: slopes of the relief face it or not."""
        rng = self.rng
        scale = self.unit / 240
        relief = np.asarray(self._relief.filter(ImageFilter.GaussianBlur(1.6 * scale)), np.float32)
        pillow = cover.reduce(4).filter(ImageFilter.GaussianBlur(3.6 * scale))
        soft = np.asarray(pillow.resize(self._relief.size, Image.Resampling.BICUBIC), np.float32)
        h = relief + 0.9 * soft
        if self.wrinkle:
            bumps = np.asarray(cloud(rng, self._relief.size, 8, 17), np.float32)
            h = h + bumps * (0.55 * self.wrinkle)
        # Half the central differences, the light's direction and the scale in one pass each.
        toward = (light * (-scale / 2)).astype(np.float32)
        slope = np.zeros_like(h)
        slope[:, 1:-1] += (h[:, 2:] - h[:, :-2]) * toward[0]
        slope[1:-1] += (h[2:] - h[:-2]) * toward[1]
        depth = np.float32(rng.uniform(0.02, 0.034))
        gain = np.float32(rng.uniform(0.92, 1.0)) + depth * slope
        gain += np.float32(self.gloss) * np.square(np.maximum(slope * np.float32(0.12), 0))
        shade: Plane = np.clip(gain, 0.45, BRIGHTEST)
        return shade

    def _falloff(self, light: Curve) -> Plane:
        """Gain over the frame, at half size: brighter towards the light, darker in the corners."""
        rng = self.rng
        wide, tall = self._relief.size
        x = np.linspace(-1, 1, wide, dtype=np.float32)[None, :]
        y = np.linspace(-1, 1, tall, dtype=np.float32)[:, None]
        side = np.float32(rng.uniform(0, 0.13))
        corner = np.float32(rng.uniform(0, 0.11))
        toward = x * np.float32(light[0]) + y * np.float32(light[1])
        edge: Plane = x * x + y * y
        return (side * toward - corner * edge + 1).astype(np.float32)

    def _shadow(self, light: Curve, cover: Image.Image) -> Plane:
        """Gain of the drop shadow on the backdrop, at half size."""
        rng = self.rng
        small = cover.reduce(4)
        reach = -light * self.unit * rng.uniform(0.02, 0.07) / 4
        moved = ImageChops.offset(small, round(reach[0]), round(reach[1]))
        blur = ImageFilter.GaussianBlur(self.unit * rng.uniform(0.012, 0.05) / 4 + 0.3)
        soft = moved.filter(blur)
        grown = np.asarray(soft.resize(self._relief.size, Image.Resampling.BILINEAR), np.float32)
        gain: Plane = 1 - grown * np.float32(rng.uniform(0.2, 0.55) / 255)
        return gain

    def _mean_luminance(self, cover: Image.Image) -> float:
        weight = np.asarray(cover.reduce(8), np.float64)
        seen = np.asarray(self._layer.convert("L").reduce(8), np.float64)
        return float(seen.sum() * 255 / max(weight.sum(), 1.0))


def _levels(colours: Plane, fourth: Plane) -> Image.Image:
    """Three planes of 0..255 and one more, as an image whose channels are resized apart."""
    tall, wide = fourth.shape
    pixels = np.empty((tall, wide, 4), np.uint8)
    np.clip(colours, 0, 255, out=pixels[..., :3], casting="unsafe")
    np.clip(fourth, 0, 255, out=pixels[..., 3], casting="unsafe")
    return Image.frombuffer("RGBX", (wide, tall), pixels.tobytes(), "raw", "RGBX", 0, 1)
