"""Jeans, trousers and shorts, laid flat and seen from the front."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cloth import (
    Colour,
    Fill,
    Random,
    base,
    black,
    checks,
    chosen,
    contrast,
    cool,
    deep,
    earth,
    floral,
    gold,
    grain,
    hsv,
    khaki,
    neutral,
    shaded,
    stripes,
    suiting,
    vivid,
    white,
)
from .curves import Strip, box, curve, joined, line, shifted
from .scene import GROUND, Scene


@dataclass(frozen=True)
class Legs:
    """The pattern of trousers in units, seen from the front and laid flat."""

    top: float
    end: float
    waist: float  # half widths
    hip: float
    crotch: float  # height of the crotch
    knee: float  # width of one leg
    hem: float  # width of one leg's end
    spread: float  # distance from the centre line to the inner end of a leg

    def leg(self) -> Strip:
        """The right half, from the waist to the hem."""
        mid = (self.crotch + self.end) / 2
        inner_knee = 0.02 + self.spread * 0.45
        outer = curve(
            (self.waist, self.top),
            (self.hip, (self.top + self.crotch) / 2),
            (self.hip + 0.012, self.crotch),
            (inner_knee + self.knee, mid),
            (self.spread + self.hem, self.end),
            steps=8,
        )
        inner = curve(
            (-0.004, self.top + 0.01),
            (-0.004, (self.top + self.crotch) / 2),
            (-0.004, self.crotch),
            (inner_knee, mid),
            (self.spread, self.end),
            steps=8,
        )
        return Strip(inner, outer)


def tailored(scene: Scene, legs: Legs, cloth: Fill) -> tuple[Strip, Strip]:
    """Paints the back of the waist and both legs; returns the right and the left leg."""
    rng = scene.rng
    right = legs.leg()
    left = right.flipped
    dark = shaded(base(cloth), 0.5)
    scene.paint(
        dark,
        joined(
            curve((-legs.waist, legs.top), (0, legs.top - 0.025), (legs.waist, legs.top)),
            curve(
                (legs.waist, legs.top + 0.03), (0, legs.top + 0.06), (-legs.waist, legs.top + 0.03)
            ),
        ),
        level=GROUND - 40,
    )
    for leg in (left, right):
        scene.paint(cloth, leg.outline, level=GROUND)
    for leg in (left, right):
        for _ in range(int(rng.integers(1, 4))):
            t, s = rng.uniform(0.35, 0.75), rng.uniform(0.2, 0.8)
            scene.fold(leg.part(t, t + 0.2).rail(s), 0.06, int(rng.choice([-22, 18])))
        scene.fold(leg.part(0.42, 0.56).rail(0.04), 0.05, -26)
    return right, left


def waistband(
    scene: Scene, legs: Legs, fill: Fill, height: float, loops: int, seam: Colour
) -> None:
    t, w = legs.top, legs.waist
    band = joined(
        curve((-w - 0.004, t), (0, t + 0.025), (w + 0.004, t)),
        curve((w + 0.012, t + height), (0, t + height + 0.025), (-w - 0.012, t + height)),
    )
    scene.paint(fill, band, level=GROUND + 26)
    scene.stroke(seam, 0.008, band[len(band) // 2 :])
    for x in np.linspace(-0.8, 0.8, loops) * w if loops else ():
        loop = box(x - 0.016, t - 0.012, x + 0.016, t + height + 0.03)
        scene.paint(shaded(base(fill), 0.9), loop, level=GROUND + 46)


def denim_jeans(scene: Scene, rng: Random) -> None:
    slim = rng.random() < 0.6
    legs = Legs(
        top=rng.uniform(-0.96, -0.88),
        end=rng.uniform(0.86, 0.96),
        waist=rng.uniform(0.27, 0.32),
        hip=rng.uniform(0.34, 0.4),
        crotch=rng.uniform(-0.42, -0.34),
        knee=rng.uniform(0.21, 0.25) if slim else rng.uniform(0.26, 0.3),
        hem=rng.uniform(0.15, 0.19) if slim else rng.uniform(0.22, 0.3),
        spread=rng.uniform(0.05, 0.2),
    )
    shade = rng.random()
    blue = hsv(rng.uniform(0.575, 0.635), rng.uniform(0.4, 0.75), rng.uniform(0.25, 0.75))
    ground = blue if shade < 0.8 else hsv(0.6, rng.uniform(0.02, 0.2), rng.uniform(0.13, 0.32))
    cloth = grain(rng, ground, 9, 0.3, twill=True)
    seam = hsv(rng.uniform(0.07, 0.11), rng.uniform(0.5, 0.8), rng.uniform(0.7, 0.9))
    dark = shaded(ground, 0.6)
    scene.wrinkle = 1.3
    right, left = tailored(scene, legs, cloth)
    turned_up = rng.random() < 0.3
    wear = int(rng.integers(15, 95)) if shade < 0.8 else int(rng.integers(0, 50))
    for leg in (right, left):
        scene.shine(leg.part(0.28, 0.6).rail(0.5), 0.16, wear)
        scene.shine(leg.part(0.7, 0.85).rail(0.5), 0.1, wear // 2)
        scene.stitch(seam, 0.008, leg.part(0.1, 1.0).rail(0.95))
        scene.stroke(dark, 0.008, leg.part(0.3, 1.0).rail(0.05))
        for k in range(3):
            x0, x1 = leg.part(0.3, 0.5).rail(0.2)[0], leg.part(0.3, 0.5).rail(0.75)[0]
            y = k * 0.05 + float(x0[1])
            scene.fold(
                curve(
                    (float(x0[0]), y),
                    (float(x0[0] + x1[0]) / 2, y + 0.03),
                    (float(x1[0]), y + 0.01),
                ),
                0.03,
                -24,
            )
        hem = leg.part(0.955, 1.0)
        if turned_up:
            scene.paint(shaded(ground, 1.35), leg.part(0.93, 1.0).outline, level=GROUND + 24)
        scene.stitch(seam, 0.008, line(*map(tuple, (hem.left[0], hem.right[0]))))
    if rng.random() < 0.25:
        torn = shaded(ground, 1.7)
        for leg in (right, left)[: int(rng.integers(1, 3))]:
            for t in rng.uniform(0.4, 0.7, 2):
                gap = leg.part(t, t + 0.03, 0.3, 0.7)
                threads = zip(gap.left, gap.right, strict=True)
                scene.stroke(torn, 0.012, *(line(*map(tuple, ends)) for ends in threads))
    t, w, y = legs.top, legs.waist, legs.top + 0.1
    scene.stroke(dark, 0.012, line((0, t), (0, legs.crotch)))
    fly = curve((0.075, y), (0.075, legs.crotch - 0.16), (0.0, legs.crotch - 0.06))
    scene.stitch(seam, 0.009, fly)
    for sign in (-1, 1):
        mouth = curve(
            (sign * w * 0.45, y - 0.01),
            (sign * w * 0.62, y + 0.13),
            (sign * (legs.hip + 0.0), y + 0.16),
        )
        bag = joined(mouth, line((sign * (legs.hip + 0.02), y - 0.02)))
        with scene.inside((right if sign > 0 else left).outline):
            scene.paint(shaded(ground, 0.8), bag)
            scene.stroke(dark, 0.014, mouth)
            scene.stitch(seam, 0.009, shifted(mouth, 0, 0.025))
        scene.spots(gold(rng), 0.012, (float(mouth[0, 0]), float(mouth[0, 1]) + 0.03))
    waistband(scene, legs, cloth, 0.085, 5, seam)
    scene.spots(gold(rng), 0.024, (0.0, t + 0.06), level=GROUND + 60)


def formal_trousers(scene: Scene, rng: Random) -> None:
    legs = Legs(
        top=rng.uniform(-0.96, -0.9),
        end=rng.uniform(0.88, 0.97),
        waist=rng.uniform(0.25, 0.29),
        hip=rng.uniform(0.31, 0.35),
        crotch=rng.uniform(-0.4, -0.32),
        knee=rng.uniform(0.23, 0.26),
        hem=rng.uniform(0.18, 0.22),
        spread=rng.uniform(0.03, 0.12),
    )
    ground = chosen(rng, neutral, neutral, black, suiting, khaki)
    kind = rng.random()
    cloth: Fill = ground
    if kind < 0.15:
        cloth = stripes(rng, ground, shaded(ground, 1.2))
    elif kind < 0.4:
        cloth = grain(rng, ground, 5)
    scene.wrinkle = rng.uniform(0.3, 0.8)
    right, left = tailored(scene, legs, cloth)
    dark, light = shaded(ground, 0.62), shaded(ground, 1.14)
    for leg in (right, left):
        crease = leg.part(0.12, 1.0).rail(rng.uniform(0.47, 0.53))
        scene.fold(crease, 0.1, 55)
        scene.stroke(light, 0.016, crease)
        scene.stroke(dark, 0.01, shifted(crease, 0.012, 0.0))
    scene.stroke(dark, 0.01, line((0, legs.top), (0, legs.crotch)))
    y = legs.top + 0.09
    for sign in (-1, 1):
        mouth = line((sign * legs.waist * 0.78, y), (sign * legs.hip * 0.98, y + 0.24))
        scene.stroke(dark, 0.014, mouth)
    if rng.random() < 0.35:
        belt = chosen(rng, black, earth)
        waistband(scene, legs, belt, 0.07, 4, shaded(belt, 0.6))
        buckle = box(-0.045, legs.top + 0.012, 0.045, legs.top + 0.085)
        scene.stroke(hsv(0.12, rng.uniform(0, 0.4), 0.85), 0.016, joined(buckle, buckle[:2]))
    else:
        waistband(scene, legs, cloth, 0.075, 4, dark)
        scene.stroke(dark, 0.01, line((0.07, legs.top + 0.01), (0.07, legs.top + 0.09)))
        scene.spots(dark, 0.014, (0.03, legs.top + 0.055))


def shorts(scene: Scene, rng: Random) -> None:
    top = rng.uniform(-0.62, -0.5)
    legs = Legs(
        top=top,
        end=rng.uniform(0.35, 0.6),
        waist=rng.uniform(0.42, 0.48),
        hip=rng.uniform(0.5, 0.57),
        crotch=top + rng.uniform(0.58, 0.68),
        knee=rng.uniform(0.5, 0.56),
        hem=rng.uniform(0.46, 0.54),
        spread=rng.uniform(0.05, 0.12),
    )
    ground = chosen(rng, vivid, deep, khaki, black, neutral, cool)
    kind = int(rng.integers(5))
    accent = contrast(rng, ground)
    cloth: Fill = ground
    if kind == 0:
        cloth = checks(rng, ground, accent, white(rng))
    elif kind == 1:
        cloth = floral(rng, ground, accent, vivid(rng), white(rng))
    elif kind == 2:
        cloth = grain(rng, ground, 8, twill=True)
    right, left = tailored(scene, legs, cloth)
    dark = shaded(ground, 0.62)
    sporty = kind >= 3 and rng.random() < 0.7
    for leg in (right, left):
        if sporty:
            scene.paint(accent, leg.part(0.0, 1.0, 0.86, 1.0).outline)
        scene.stitch(dark, 0.009, line(*map(tuple, leg.part(0.94, 1.0).outline[[0, -1]])))
    if not sporty and rng.random() < 0.35:
        for leg in (right, left):
            pocket = leg.part(0.55, 0.82, 0.6, 0.98).outline
            scene.paint(cloth, pocket, level=GROUND + 22)
            scene.stroke(dark, 0.01, joined(pocket, pocket[:1]))
            scene.paint(
                shaded(ground, 0.85), leg.part(0.53, 0.6, 0.58, 1.0).outline, level=GROUND + 34
            )
    scene.stroke(dark, 0.012, line((0, legs.top), (0, legs.crotch)))
    y = legs.top + 0.11
    for sign in (-1, 1):
        mouth = curve(
            (sign * legs.waist * 0.72, y),
            (sign * legs.hip * 0.86, y + 0.16),
            (sign * legs.hip * 0.99, y + 0.24),
        )
        scene.stroke(dark, 0.016, mouth)
        scene.stitch(dark, 0.008, shifted(mouth, sign * -0.03, 0.0))
    if sporty or rng.random() < 0.4:
        waistband(scene, legs, accent if rng.random() < 0.3 else cloth, 0.1, 0, dark)
        for x in np.linspace(-0.95, 0.95, 26) * legs.waist:
            scene.fold(line((x, legs.top + 0.005), (x, legs.top + 0.1)), 0.016, -60)
        cord = chosen(rng, white, black)
        for sign in (-1, 1):
            end = (sign * rng.uniform(0.04, 0.12), y + 0.22)
            hang = curve((sign * 0.02, y - 0.03), (sign * 0.09, y + 0.05), end)
            scene.stroke(cord, 0.02, hang, level=GROUND + 30)
    else:
        waistband(scene, legs, cloth, 0.1, 5, dark)
        scene.stitch(dark, 0.009, curve((0.09, y), (0.09, y + 0.25), (0.0, y + 0.36)))
        scene.spots(shaded(ground, 0.5), 0.024, (0.0, legs.top + 0.065), level=GROUND + 50)
