"""Shoes from the side, toe to the right, and thong sandals from above."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from .cloth import (
    Colour,
    Fill,
    Random,
    base,
    black,
    chosen,
    contrast,
    deep,
    dots,
    floral,
    gold,
    grain,
    hsv,
    leather,
    luminance,
    mesh,
    neutral,
    olive,
    pastel,
    pinks,
    shaded,
    stripes,
    vivid,
    white,
)
from .curves import Curve, Point, Strip, box, curve, flipped, joined, line, oval, shifted
from .scene import GROUND, Scene


def displayed(scene: Scene, rng: Random, shoe: Callable[[], None], alone: float = 0.6) -> None:
    """Shows one shoe, or with chance 1 - `alone` a second one behind it."""
    if rng.random() < alone:
        with scene.placed(0, rng.uniform(-0.1, 0.1), rng.uniform(0.92, 1.0)):
            shoe()
        return
    x, y = rng.uniform(0.08, 0.22), rng.uniform(0.22, 0.42)
    scale = rng.uniform(0.78, 0.88)
    with scene.placed(x, -y, scale * 0.94, rng.uniform(-0.1, 0.06)):
        shoe()
    with scene.placed(-x * 0.6, y * 0.7, scale):
        shoe()


# --- closed shoes ---------------------------------------------------------------------------


def trainers(scene: Scene, rng: Random) -> None:
    main = chosen(rng, white, vivid, vivid, black, neutral, deep)
    panel = contrast(rng, main)
    accent = chosen(rng, vivid, white, black)
    midsole = white(rng) if rng.random() < 0.7 else chosen(rng, vivid, black)
    outsole = accent if rng.random() < 0.5 else shaded(midsole, 0.55)
    lace = white(rng) if luminance(panel) < 150 else chosen(rng, black, vivid)
    cloth: Fill = mesh(rng, main) if rng.random() < 0.5 else main
    style = int(rng.integers(4))
    stack, tall = rng.uniform(0.13, 0.2), rng.uniform(-0.46, -0.36)
    collar = rng.uniform(-0.24, -0.17)
    scene.wrinkle, scene.gloss = 0.35, 0.1
    floor = 0.4
    top = floor - stack

    def shoe() -> None:
        upper = joined(
            curve(
                (-0.86, top + 0.08),
                (-0.9, -0.05),
                (-0.86, -0.2),
                (-0.83, tall + 0.08),
                (-0.74, tall + 0.06),
                (-0.5, collar),
                (-0.3, tall + 0.1),
                (-0.16, tall - 0.06),
                (-0.06, tall - 0.02),
                (0.06, tall + 0.16),
                (0.34, -0.1),
                (0.62, -0.02),
                (0.86, 0.06),
                (0.94, top + 0.08),
            ),
        )
        sole = curve(
            (-0.93, top + 0.04),
            (-0.6, top + 0.0),
            (-0.2, top + 0.03),
            (0.3, top + 0.04),
            (0.8, top + 0.0),
            (0.97, top - 0.03),
            (1.0, top + 0.05),
            (0.9, floor - 0.03),
            (0.6, floor),
            (0.1, floor - 0.01),
            (-0.3, floor),
            (-0.8, floor),
            (-0.94, floor - 0.06),
            closed=True,
        )
        mouth = curve(
            (-0.82, tall + 0.09),
            (-0.72, tall + 0.06),
            (-0.5, collar - 0.02),
            (-0.3, tall + 0.09),
            (-0.16, tall - 0.03),
            (-0.2, tall + 0.1),
            (-0.5, collar + 0.05),
            (-0.76, tall + 0.17),
            closed=True,
        )
        scene.paint(cloth, upper, level=GROUND)
        with scene.inside(upper):
            toe = curve((0.46, 0.5), (0.5, 0.1), (0.66, -0.1))
            scene.paint(panel, joined(toe, line((1.2, -0.1), (1.2, 0.5))))
            heel = curve((-0.52, 0.5), (-0.6, 0.1), (-0.7, -0.1), (-0.72, -0.5))
            scene.paint(panel, joined(heel, line((-1.2, -0.5), (-1.2, 0.5))))
            scene.stroke(shaded(panel, 0.65), 0.012, toe, heel)
            scene.paint(accent, box(-0.95, tall + 0.02, -0.79, tall + 0.3))
            badge(scene, style, accent)
            stay = Strip(
                curve((-0.26, tall + 0.16), (0.02, tall + 0.26), (0.3, 0.0), (0.36, 0.04)),
                curve((-0.1, tall - 0.1), (0.1, tall + 0.1), (0.4, -0.14), (0.5, -0.08)),
            )
            scene.paint(panel, stay.outline, level=GROUND + 16)
            mud = curve((-1, top - 0.02), (-0.3, top - 0.01), (0.3, top - 0.03), (1, top - 0.09))
            scene.paint(shaded(base(cloth), 0.8), joined(mud, line((1, 0.5), (-1, 0.5))))
        scene.paint(shaded(base(cloth), 0.32), mouth, level=GROUND - 60)
        scene.stroke(panel, 0.045, mouth[18:34], level=GROUND + 22)
        rungs = stay.part(0.05, 0.9)
        picks = np.linspace(0, len(rungs.left) - 1, 5).astype(int)
        ties = [line(tuple(rungs.rail(0.1)[k]), tuple(rungs.rail(1.0)[k])) for k in picks]
        cross = [
            line(tuple(rungs.rail(0.15)[a]), tuple(rungs.rail(1.0)[b])) for a, b in pairwise(picks)
        ]
        scene.stroke(lace, 0.03, *ties, *cross, level=GROUND + 36)
        bow = curve(
            (-0.04, tall + 0.1), (-0.18, tall + 0.16), (-0.12, tall + 0.28), (-0.02, tall + 0.12)
        )
        scene.stroke(lace, 0.022, bow, level=GROUND + 36)
        scene.paint(midsole, sole, level=GROUND + 26)
        with scene.inside(sole):
            tread = curve(
                (-1, floor - 0.045), (0, floor - 0.05), (0.7, floor - 0.05), (1.05, floor - 0.12)
            )
            scene.paint(outsole, joined(tread, line((1.05, 0.6), (-1, 0.6))))
            if style % 2:
                wave = curve(
                    (-1, top + 0.1),
                    (-0.5, top + 0.06),
                    (0.0, top + 0.1),
                    (0.5, top + 0.07),
                    (1, top + 0.03),
                )
                scene.stroke(accent, 0.025, wave)
            ridges = (line((x, floor - 0.04), (x, floor)) for x in np.linspace(-0.85, 0.85, 18))
            scene.stroke(shaded(outsole, 0.6), 0.012, *ridges)

    displayed(scene, rng, shoe)


def badge(scene: Scene, style: int, ink: Colour) -> None:
    """The emblem on a trainer's flank: a swoosh, three bars, a zigzag or a wave."""
    if style == 0:
        swoosh = joined(
            curve((-0.62, -0.02), (-0.5, 0.16), (-0.25, 0.12), (0.3, -0.12)),
            curve((-0.25, 0.02), (-0.45, 0.04), (-0.62, -0.02)),
        )
        scene.paint(ink, swoosh)
    elif style == 1:
        for x in (-0.42, -0.24, -0.06):
            bar = line((x, 0.26), (x + 0.08, 0.26), (x + 0.22, -0.16), (x + 0.14, -0.16))
            scene.paint(ink, bar)
    elif style == 2:
        scene.stroke(ink, 0.07, line((-0.42, 0.18), (-0.34, -0.08), (-0.12, 0.16), (-0.02, -0.1)))
    else:
        wave = curve((-0.6, 0.02), (-0.35, -0.04), (-0.1, 0.06), (0.25, -0.06))
        scene.stroke(ink, 0.045, wave, shifted(wave, 0, 0.11))


def formal_shoes(scene: Scene, rng: Random) -> None:
    hide = black(rng) if rng.random() < 0.45 else leather(rng)
    sole = shaded(hide, 0.45) if rng.random() < 0.6 else hsv(0.07, 0.5, rng.uniform(0.3, 0.5))
    seam = shaded(hide, 0.55) if luminance(hide) > 45 else shaded(hide, 1.22)
    lace = shaded(hide, 0.6) if luminance(hide) > 45 else shaded(hide, 1.12)
    toe = rng.uniform(-0.03, 0.05)
    back, throat = rng.uniform(-0.3, -0.24), rng.uniform(-0.38, -0.3)
    cap, brogue, derby = rng.random() < 0.65, rng.random() < 0.5, rng.random() < 0.5
    eyelets = int(rng.integers(3, 6))
    scene.wrinkle, scene.gloss = 0.15, rng.uniform(0.2, 0.6)
    shine = int(rng.integers(50, 130))

    def shoe() -> None:
        upper = curve(
            (-0.88, 0.28),
            (-0.9, 0.1),
            (-0.84, -0.1),
            (-0.82, back),
            (-0.72, back - 0.01),
            (-0.46, -0.1),
            (-0.28, throat + 0.12),
            (-0.16, throat),
            (-0.06, throat + 0.03),
            (0.16, -0.12),
            (0.42, toe - 0.01),
            (0.7, toe + 0.04),
            (0.92, toe + 0.14),
            (0.99, 0.28),
        )
        scene.paint(hide, upper, level=GROUND)
        mouth = curve(
            (-0.81, back + 0.01),
            (-0.7, back),
            (-0.46, -0.1),
            (-0.28, throat + 0.12),
            (-0.17, throat + 0.02),
            (-0.22, throat + 0.16),
            (-0.46, -0.03),
            (-0.74, back + 0.1),
            closed=True,
        )
        scene.paint(shaded(earth_lining, 0.7), mouth, level=GROUND - 60)
        with scene.inside(upper):
            lines = [curve((-0.5, 0.4), (-0.58, 0.1), (-0.74, -0.02), (-0.84, -0.02))]
            if derby:
                lines.append(curve((0.02, 0.4), (0.1, 0.12), (0.26, 0.0), (0.22, -0.14)))
            else:
                lines.append(curve((-0.12, 0.4), (0.05, 0.1), (0.3, -0.02), (0.36, -0.06)))
            if cap:
                lines.append(curve((0.6, 0.4), (0.58, 0.15), (0.66, -0.1)))
            scene.stroke(seam, 0.014, *lines, level=GROUND + 22)
            if brogue:
                for path in lines:
                    beads = shifted(path, 0.028, 0.01)
                    scene.spots(seam, 0.011, *map(tuple, beads[::2].tolist()))
            stay = Strip(
                curve((-0.22, throat + 0.16), (0.0, -0.06), (0.16, 0.0)),
                curve((-0.1, throat), (0.1, -0.17), (0.26, -0.08)),
            )
            scene.stroke(seam, 0.012, stay.rail(0.0))
        picks = np.linspace(1, len(stay.left) - 4, eyelets).astype(int)
        rungs = [line(tuple(stay.rail(0.35)[k]), tuple(stay.rail(1.0)[k])) for k in picks]
        scene.stroke(lace, 0.026, *rungs, level=GROUND + 40)
        scene.shine(curve((0.46, toe + 0.06), (0.7, toe + 0.09), (0.88, toe + 0.16)), 0.05, shine)
        scene.shine(curve((-0.8, -0.06), (-0.82, 0.12)), 0.05, shine // 2)
        scene.shine(curve((-0.3, 0.08), (-0.05, 0.12)), 0.06, shine // 3)
        welt = joined(
            curve((-0.91, 0.25), (0.0, 0.26), (0.7, 0.25), (1.0, 0.23)),
            curve((1.02, 0.28), (0.9, 0.32), (0.3, 0.325), (-0.4, 0.31), (-0.91, 0.31)),
        )
        scene.paint(sole, welt, level=GROUND + 20)
        heel = line((-0.9, 0.3), (-0.42, 0.3), (-0.46, 0.42), (-0.89, 0.42))
        scene.paint(shaded(sole, 0.8), heel, level=GROUND + 10)
        scene.stroke(shaded(sole, 1.25), 0.009, line((-0.9, 0.275), (0.0, 0.282), (0.96, 0.262)))

    earth_lining = hsv(0.09, rng.uniform(0.2, 0.5), rng.uniform(0.45, 0.75))
    displayed(scene, rng, shoe)


def heels(scene: Scene, rng: Random) -> None:
    hide = chosen(rng, vivid, vivid, black, neutral, pastel, deep, gold)
    cloth: Fill = hide
    if rng.random() < 0.2:
        cloth = dots(rng, hide, contrast(rng, hide))
    sole = shaded(hide, 0.55) if rng.random() < 0.6 else hsv(0.99, 0.8, 0.6)
    lining = hsv(rng.uniform(0.07, 0.1), rng.uniform(0.2, 0.4), rng.uniform(0.65, 0.9))
    kind = ("stiletto", "stiletto", "block", "wedge")[int(rng.integers(4))]
    strappy = rng.random() < 0.4
    ankle = rng.random() < 0.5
    platform = float(rng.choice([0.0, 0.0, 0.08]))
    seat = rng.uniform(-0.28, -0.12)
    floor = 0.56
    scene.wrinkle, scene.gloss = 0.1, rng.uniform(0.2, 0.6)
    shine = int(rng.integers(40, 120))
    bow = rng.random() < 0.3
    buckle, cork = gold(rng), grain(rng, hsv(0.09, 0.4, 0.7), 14)

    def shoe() -> None:
        ball = floor - platform - 0.04
        bed = curve(
            (-0.72, seat),
            (-0.5, seat + 0.04),
            (-0.2, seat + 0.28),
            (0.12, ball - 0.06),
            (0.4, ball),
            (0.82, ball - 0.02),
        )
        lower = shifted(bed, 0, 0.055)
        if kind == "wedge":
            wedge = joined(line((-0.76, seat + 0.02), (-0.76, floor), (0.75, floor)), lower[::-1])
            scene.paint(cork if strappy else cloth, wedge, level=GROUND)
        else:
            slim = kind == "stiletto"
            rear, front = (-0.68, -0.62) if slim else (-0.74, -0.47)
            heel = joined(
                curve((-0.76, seat + 0.02), (-0.745, seat + 0.3), (rear, floor)),
                line((front, floor)),
                curve((front + 0.02, seat + 0.33), (-0.42 if slim else -0.38, seat + 0.1)),
            )
            scene.paint(cloth, heel, level=GROUND)
            tip = box(rear - 0.01, floor - 0.02, front + 0.01, floor + 0.01)
            scene.paint(shaded(sole, 0.7), tip)
        if platform:
            scene.paint(
                cloth,
                joined(
                    curve((0.0, ball - 0.12), (0.3, ball + 0.01), (0.86, ball)),
                    curve((0.84, floor), (0.3, floor), (0.12, floor - 0.05)),
                ),
                level=GROUND,
            )
        scene.paint(sole, joined(bed, lower[::-1]), level=GROUND + 10)
        if strappy:
            scene.paint(lining, joined(bed, shifted(bed[::-1], 0, -0.02)), level=GROUND + 12)
            straps = [
                curve((0.3, ball), (0.4, ball - 0.2), (0.56, ball - 0.22), (0.66, ball - 0.02)),
                curve((0.08, ball - 0.06), (0.2, ball - 0.3), (0.4, ball - 0.3), (0.5, ball)),
            ]
            back = joined(
                bed[:6],
                curve(
                    (-0.5, seat - 0.05),
                    (-0.66, seat - 0.26),
                    (-0.76, seat - 0.3),
                    (-0.78, seat - 0.1),
                    (-0.74, seat + 0.02),
                ),
            )
            scene.paint(cloth, back, level=GROUND)
            scene.stroke(cloth, 0.085, *straps, level=GROUND + 20)
        else:
            upper = joined(
                curve((-0.74, seat + 0.03), (-0.8, seat - 0.12), (-0.76, seat - 0.3)),
                curve(
                    (-0.68, seat - 0.26),
                    (-0.5, seat - 0.08),
                    (-0.2, seat + 0.14),
                    (0.12, ball - 0.24),
                    (0.34, ball - 0.26),
                    (0.5, ball - 0.24),
                    (0.74, ball - 0.14),
                    (0.9, ball - 0.02),
                    (0.9, ball + 0.03),
                ),
                lower[::-1],
            )
            inner = curve(
                (-0.74, seat - 0.28),
                (-0.5, seat - 0.16),
                (-0.2, seat + 0.06),
                (0.12, ball - 0.3),
                (0.34, ball - 0.27),
                (0.12, ball - 0.2),
                (-0.2, seat + 0.18),
                (-0.5, seat - 0.02),
                closed=True,
            )
            scene.paint(lining, inner, level=GROUND - 30)
            scene.paint(cloth, upper, level=GROUND + 14)
            scene.shine(
                curve((0.5, ball - 0.16), (0.72, ball - 0.1), (0.82, ball - 0.05)), 0.04, shine
            )
            scene.shine(curve((-0.74, seat - 0.18), (-0.72, seat)), 0.04, shine)
            scene.stroke(shaded(sole, 0.9), 0.022, lower)
        if ankle or strappy:
            y = seat - 0.3
            loop = curve(
                (-0.76, y),
                (-0.6, y - 0.07),
                (-0.36, y - 0.06),
                (-0.3, y),
                (-0.44, y + 0.06),
                (-0.68, y + 0.05),
                closed=True,
            )
            scene.stroke(cloth, 0.05, joined(loop, loop[:1]), level=GROUND + 16)
            scene.stroke(cloth, 0.05, line((-0.76, y), (-0.75, seat - 0.05)), level=GROUND + 16)
            scene.spots(buckle, 0.028, (-0.4, y + 0.055), level=GROUND + 40)
        elif bow:
            x, y = 0.42, ball - 0.25
            wing = curve((x, y), (x + 0.13, y - 0.08), (x + 0.16, y + 0.04), closed=True)
            scene.paint(
                shaded(hide, 0.85), wing, shifted(flipped(wing), 2 * x, 0), level=GROUND + 44
            )
            scene.spots(buckle, 0.025, (x, y), level=GROUND + 60)

    displayed(scene, rng, shoe)


# --- thong sandals --------------------------------------------------------------------------


def flip_flop(scene: Scene, sole: Curve, bed: Fill, rim: Colour) -> None:
    """A right-foot sole seen from above, with its rim."""
    middle = sole.mean(axis=0)
    scene.paint(rim, sole, level=GROUND)
    scene.paint(bed, middle + (sole - middle) * (0.9, 0.955), level=GROUND + 14)


def footprint(ball: float, waist: float, heel: float) -> Curve:
    """The outline of a right sole, toe upwards, from half widths."""
    return curve(
        (-0.35 * ball, -0.9),
        (0.3 * ball, -0.86),
        (0.82 * ball, -0.62),
        (ball, -0.35),
        (0.86 * waist + 0.05, 0.1),
        (heel, 0.58),
        (0.7 * heel, 0.84),
        (0, 0.92),
        (-0.7 * heel, 0.84),
        (-heel, 0.58),
        (-0.9 * waist, 0.15),
        (-0.92 * ball, -0.35),
        (-0.92 * ball, -0.7),
        closed=True,
    )


def paired(scene: Scene, rng: Random, sandal: Callable[[], None], gap: float) -> None:
    """A left and a right sandal, side by side or a little askew."""
    toe_out, scale = rng.uniform(-0.06, 0.22), rng.uniform(0.9, 1.0)
    shift = rng.uniform(-0.08, 0.08)
    with scene.placed(-gap, shift, scale, -toe_out, mirror=True):
        sandal()
    with scene.placed(gap, -shift, scale, toe_out + rng.normal(0, 0.06)):
        sandal()


def thong(reach: float, post: Point, ball: float) -> list[Curve]:
    """The two arms of the strap, from the toe post to either side at height `reach`."""
    x, y = post
    outer = curve((x, y), (x + 0.1, y + 0.12), (0.7 * ball, reach - 0.2), (ball * 0.98, reach))
    inner = curve((x, y), (x - 0.03, y + 0.14), (-0.55 * ball, reach - 0.2), (-ball * 0.86, reach))
    return [outer, inner]


def mens_flip_flops(scene: Scene, rng: Random) -> None:
    bed = chosen(rng, black, black, deep, neutral, leather, olive)
    rim = shaded(bed, 0.6) if rng.random() < 0.6 else chosen(rng, black, white, vivid)
    strap = chosen(rng, black, black, deep, leather) if rng.random() < 0.7 else contrast(rng, bed)
    accent = chosen(rng, white, vivid, neutral)
    ball, heel = rng.uniform(0.33, 0.37), rng.uniform(0.27, 0.31)
    sole = footprint(ball, rng.uniform(0.27, 0.31), heel)
    width, reach = rng.uniform(0.1, 0.14), rng.uniform(-0.05, 0.1)
    cloth: Fill = grain(rng, bed, 7, 0.2)
    if rng.random() < 0.35:
        cloth = stripes(rng, bed, shaded(bed, 0.8 if luminance(bed) > 60 else 1.12), upright=False)
    panel, logo = rng.random() < 0.5, rng.random() < 0.6
    scene.wrinkle = 0.1

    def sandal() -> None:
        flip_flop(scene, sole, cloth, rim)
        if panel:
            with scene.inside(sole * 0.93):
                scene.stroke(accent, 0.03, curve((-0.5, 0.42), (0, 0.36), (0.5, 0.42)))
        if logo:
            scene.paint(accent, box(-0.11, 0.55, 0.11, 0.61), oval(0, 0.7, 0.05, 0.04))
        arms = thong(reach, (-0.04, -0.52), ball)
        scene.stroke(shaded(strap, 0.55), width + 0.015, *arms, level=GROUND + 50)
        scene.stroke(strap, width, *arms, level=GROUND + 66)
        if panel:
            scene.stroke(accent, 0.016, *arms)
        scene.spots(shaded(strap, 0.8), 0.055, (-0.04, -0.52), level=GROUND + 70)

    paired(scene, rng, sandal, rng.uniform(0.4, 0.45))


def womens_flip_flops(scene: Scene, rng: Random) -> None:
    bed = chosen(rng, vivid, pastel, pastel, pinks, pinks, white)
    strap = contrast(rng, bed) if rng.random() < 0.5 else chosen(rng, pinks, gold, vivid)
    rim = chosen(rng, white, pinks, vivid) if rng.random() < 0.6 else shaded(bed, 0.7)
    ball, heel = rng.uniform(0.24, 0.28), rng.uniform(0.17, 0.2)
    sole = footprint(ball, rng.uniform(0.16, 0.19), heel)
    width, reach = rng.uniform(0.035, 0.06), rng.uniform(-0.12, 0.05)
    kind = int(rng.integers(4))
    cloth: Fill = bed
    if kind == 0:
        cloth = floral(rng, bed, contrast(rng, bed), vivid(rng))
    elif kind == 1:
        cloth = dots(rng, bed, chosen(rng, white, vivid))
    elif kind == 2:
        cloth = stripes(rng, bed, white(rng), vivid(rng), upright=bool(rng.random() < 0.5))
    ornament = int(rng.integers(4))
    petal, heart, bead = chosen(rng, white, pinks, vivid), gold(rng), chosen(rng, gold, white)
    petals, bloom = int(rng.integers(5, 8)), rng.uniform(0.09, 0.13)
    post = (-0.03, -0.52)
    scene.wrinkle = 0.1

    def sandal() -> None:
        flip_flop(scene, sole, cloth, rim)
        arms = thong(reach, post, ball)
        scene.stroke(shaded(strap, 0.6), width + 0.014, *arms, level=GROUND + 50)
        scene.stroke(strap, width, *arms, level=GROUND + 64)
        if ornament == 0 or ornament == 3:
            x, y = post[0] + 0.02, post[1] + 0.05
            ring = oval(x, y, 0.62 * bloom, 0.62 * bloom, petals).tolist()
            scene.spots(petal, 0.42 * bloom, *map(tuple, ring), level=GROUND + 80)
            scene.spots(heart, 0.34 * bloom, (x, y), level=GROUND + 110)
        elif ornament == 1:
            wing = curve((0, 0), (0.13, -0.09), (0.16, 0.03), (0.12, 0.09), closed=True)
            wing = shifted(wing, *post)
            other = shifted(flipped(wing), 2 * post[0], 0)
            scene.paint(petal, wing, other, level=GROUND + 80)
            scene.spots(heart, 0.035, post, level=GROUND + 100)
        if ornament >= 2:
            at = [tuple(p) for arm in arms for p in arm[4::3].tolist()]
            scene.spots(bead, 0.026, *at, level=GROUND + 100)

    paired(scene, rng, sandal, rng.uniform(0.31, 0.37))
