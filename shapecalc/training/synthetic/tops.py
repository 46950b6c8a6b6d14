"""Shirts, jerseys and kurtas: a cut assembled from body and sleeves, then trimmed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cloth import (
    Cloth,
    Colour,
    Fill,
    Random,
    base,
    black,
    border,
    checks,
    chosen,
    contrast,
    cool,
    cream,
    deep,
    earth,
    gold,
    grain,
    jewel,
    luminance,
    motifs,
    neutral,
    pastel,
    print_cloth,
    shaded,
    stripes,
    vivid,
    white,
)
from .curves import Curve, Point, Strip, box, curve, flipped, joined, line, mirrored, oval, shifted
from .scene import GROUND, Scene

# --- tops: cut and assembly -----------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """The pattern of a top in units: half widths, and heights measured down the picture."""

    top: float  # height of the neck points
    end: float  # height of the hem
    neck: float
    drop: float  # depth of the neckline below the neck points
    shoulder: float
    chest: float
    waist: float
    hem: float
    tail: float = 0.0  # how far the hem curves down at the centre
    slope: float = 0.12  # fall of the shoulder line
    vee: bool = False
    sleeve: float = 0.4  # length from the shoulder; 0 for none
    lean: float = 0.9  # angle of the sleeve below the horizontal, in radians
    cuff: float = 0.2  # width of the sleeve's end
    slit: float = 0.0  # length of the side slits

    @property
    def armpit(self) -> float:
        return self.top + self.slope + 0.3

    @property
    def middle(self) -> float:
        """The height of the waist."""
        return self.armpit + 0.45 * min(self.end - self.armpit, 1.0)

    def side(self, y: float) -> float:
        """The half width of the body at a height."""
        ys = (self.top + self.slope, self.armpit, self.middle, self.end)
        return float(np.interp(y, ys, (self.shoulder, self.chest, self.waist, self.hem)))

    def neckline(self, grow: float = 0.0) -> Curve:
        """The right half of the front neckline, centre first, widened by `grow`."""
        n, t, d = self.neck + grow, self.top, self.top + self.drop + grow
        if self.vee:
            return line((0, d), (0.55 * n, t + 0.42 * (d - t)), (n, t))
        return curve((0, d), (0.55 * n, d - 0.16 * (d - t)), (0.93 * n, t + 0.4 * (d - t)), (n, t))

    def body(self) -> Curve:
        tip = (self.shoulder, self.top + self.slope)
        side = curve(
            tip,
            (self.chest * 0.97, self.armpit - 0.12),
            (self.chest, self.armpit),
            (self.waist, self.middle),
            (self.side(self.end - self.slit), self.end - self.slit),
        )
        if self.slit:
            bottom = curve((self.hem - 0.01, self.end), (0, self.end + self.tail))
        else:
            bottom = curve(
                (self.hem, self.end),
                (0.7 * self.hem, self.end + 0.75 * self.tail),
                (0, self.end + self.tail),
            )
        return mirrored(joined(self.neckline(), side, bottom))

    def arm(self, bend: float = 0.0) -> Strip:
        """The right sleeve, from the shoulder to the cuff."""
        along = np.array([np.cos(self.lean), np.sin(self.lean)])
        inward = np.array([-np.sin(self.lean), np.cos(self.lean)])
        start = np.array([self.shoulder - 0.035, self.top + self.slope - 0.02])
        pit = np.array([self.chest - 0.03, self.armpit + 0.01])
        out_end = start + along * self.sleeve
        in_end = out_end + inward * self.cuff
        swell = -inward * (0.02 + 0.05 * self.sleeve + bend)
        outer = curve(
            tuple(start),
            tuple(start + along * 0.07 - inward * 0.035),
            tuple((start + out_end) / 2 + swell),
            tuple(out_end),
            steps=8,
        )
        early = pit + (in_end - pit) * 0.2
        inner = curve(
            tuple(pit),
            tuple(early),
            tuple((pit + in_end) / 2 + swell * 0.5),
            tuple(in_end),
            steps=8,
        )
        return Strip(outer, inner)


def assemble(
    scene: Scene, cut: Cut, cloth: Fill, sleeve: Fill | None = None, lining: Colour | None = None
) -> list[Strip]:
    """Paints back, sleeves and body with their folds, and returns the sleeves, right one first."""
    rng = scene.rng
    inside = lining or shaded(base(cloth), 0.55)
    back = curve((cut.neck, cut.top), (0, cut.top - 0.035), (-cut.neck, cut.top))
    low = line(
        (-cut.neck, cut.top + 0.05), (0, cut.top + cut.drop + 0.08), (cut.neck, cut.top + 0.05)
    )
    scene.paint(inside, joined(back, low), level=GROUND - 45)
    arms = []
    if cut.sleeve:
        bend = rng.uniform(-0.02, 0.05) * (cut.sleeve > 0.7)
        fabric = sleeve or cloth
        for sign in (1, -1):
            arm = cut.arm(bend) if sign > 0 else cut.arm(bend).flipped
            turn = sign * (cut.lean - np.pi / 2)
            piece = fabric.turned(turn) if isinstance(fabric, Cloth) else fabric
            scene.paint(piece, arm.outline, level=GROUND - 22)
            for _ in range(int(rng.integers(1, 4))):
                t, s = rng.uniform(0.15, 0.8), rng.uniform(0.2, 0.8)
                path = arm.part(t, min(t + 0.25, 1)).rail(s)
                scene.fold(path, 0.05, int(rng.choice([-26, 18])))
            arms.append(arm)
    scene.paint(cloth, cut.body(), level=GROUND)
    drapes(scene, cut)
    return arms


def drapes(scene: Scene, cut: Cut) -> None:
    """Soft creases: some hang down the body, some pull from the armpits."""
    rng = scene.rng
    for _ in range(int(rng.integers(2, 6))):
        x = rng.uniform(-0.75, 0.75) * cut.hem
        y = rng.uniform(cut.armpit, cut.end - 0.2)
        end = min(y + rng.uniform(0.2, 0.6), cut.end - 0.02)
        path = curve((x * 0.8, y), (x * 0.9 + rng.normal(0, 0.03), (y + end) / 2), (x, end))
        scene.fold(path, rng.uniform(0.04, 0.1), int(rng.choice([-22, -14, 16])))
    for sign in (-1, 1):
        if rng.random() < 0.6:
            x = sign * cut.chest
            path = curve(
                (x * 0.92, cut.armpit),
                (x * 0.6, cut.armpit + rng.uniform(0.03, 0.2)),
                (x * 0.35, cut.armpit + rng.uniform(0.0, 0.15)),
            )
            scene.fold(path, 0.05, -20)


def shirt_collar(scene: Scene, cut: Cut, fill: Fill, spread: float, point: float) -> None:
    """A stand with two pointed flaps; `spread` sets them apart, `point` is their length."""
    ground = base(fill)
    n, t, d = cut.neck, cut.top, cut.top + cut.drop
    stand = joined(
        curve((n, t - 0.01), (0.6 * n, t - 0.075), (-0.6 * n, t - 0.075), (-n, t - 0.01)),
        curve((-0.8 * n, t + 0.03), (0, t + 0.05), (0.8 * n, t + 0.03)),
    )
    scene.paint(shaded(ground, 0.72), stand, level=GROUND + 10)
    flap = joined(
        line((0.015, d)),
        curve((0.5 * n, t + 0.05), (0.75 * n, t - 0.06)),
        curve((n + 0.01, t - 0.045), (n + 0.045, t + 0.03)),
        line((spread, d + point), (0.02, d + 0.012)),
    )
    for side in (flap, flipped(flap)):
        scene.paint(fill, side, level=GROUND + 42)
        scene.stroke(shaded(ground, 0.7), 0.008, joined(side, side[:1]))


def placket(
    scene: Scene,
    fill: Fill,
    top: float,
    end: float,
    buttons: int,
    ink: Colour,
    width: float = 0.075,
    x: float = 0.0,
) -> None:
    """A buttoned band down the front."""
    half = width / 2
    scene.paint(fill, box(x - half, top, x + half, end), level=GROUND + 16)
    for edge in (x - half, x + half):
        scene.stroke(shaded(base(fill), 0.68), 0.008, line((edge, top), (edge, end)))
    gap = (end - top) / (buttons + 0.3)
    scene.spots(
        ink, 0.018, *((x, top + gap * (k + 0.45)) for k in range(buttons)), level=GROUND + 40
    )


def ribbing(scene: Scene, ink: Fill, strip: Strip, start: float) -> None:
    """A trimmed end to a sleeve or leg, from `start` (0..1) on."""
    band = strip.part(start, 1.0)
    scene.paint(ink, band.outline, level=GROUND - 8)
    scene.stroke(shaded(base(ink), 0.65), 0.008, line(tuple(band.left[0]), tuple(band.right[0])))


def neck_trim(scene: Scene, cut: Cut, ink: Fill, width: float) -> None:
    inner, outer = cut.neckline(), cut.neckline(width)
    half = joined(outer, inner[::-1])
    scene.paint(ink, half, flipped(half), level=GROUND + 14)


def hemline(scene: Scene, cut: Cut, ink: Fill, height: float, gap: float = 0.0) -> None:
    """A band along the bottom of the body, `gap` above its edge."""
    edge = cut.end - gap
    low = curve(
        (-1, edge),
        (-0.7 * cut.hem, edge + 0.75 * cut.tail),
        (0, edge + cut.tail),
        (0.7 * cut.hem, edge + 0.75 * cut.tail),
        (1, edge),
    )
    scene.paint(ink, joined(low, shifted(low[::-1], 0, -height)))


# --- tops -----------------------------------------------------------------------------------

_DIGITS: dict[int, tuple[Point, ...]] = {
    0: ((0, 0), (1, 0), (1, 2), (0, 2), (0, 0)),
    1: ((0.2, 0.4), (0.6, 0), (0.6, 2)),
    2: ((0, 0), (1, 0), (1, 1), (0, 1), (0, 2), (1, 2)),
    3: ((0, 0), (1, 0), (1, 1), (0.3, 1), (1, 1), (1, 2), (0, 2)),
    4: ((0, 0), (0, 1.1), (1, 1.1), (1, 0), (1, 2)),
    5: ((1, 0), (0, 0), (0, 1), (1, 1), (1, 2), (0, 2)),
    6: ((1, 0), (0, 0), (0, 2), (1, 2), (1, 1), (0, 1)),
    7: ((0, 0), (1, 0), (0.4, 2)),
    8: ((0, 1), (0, 0), (1, 0), (1, 2), (0, 2), (0, 1), (1, 1)),
    9: ((1, 1), (0, 1), (0, 0), (1, 0), (1, 2), (0, 2)),
}


def number(scene: Scene, ink: Colour, rim: Colour, x: float, y: float, height: float) -> None:
    """A team number of one or two digits centred at x, with its top at y; never mirrored."""
    rng = scene.rng
    digits = [int(d) for d in str(rng.integers(1, 100))]
    size = height / 2
    start = -(len(digits) + (len(digits) - 1) * 0.75) * size / 2
    paths = []
    for k, digit in enumerate(digits):
        path = np.asarray(_DIGITS[digit]) * size + np.array([start + k * size * 1.75, 0.0])
        if scene.mirror:
            path = flipped(path)
        paths.append(shifted(path, x, y))
    scene.stroke(rim, size * 0.48, *paths)
    scene.stroke(ink, size * 0.32, *paths)


def jersey(scene: Scene, rng: Random) -> None:
    cut = Cut(
        top=rng.uniform(-0.86, -0.74),
        end=rng.uniform(0.72, 0.9),
        neck=rng.uniform(0.15, 0.19),
        drop=rng.uniform(0.1, 0.2),
        shoulder=rng.uniform(0.46, 0.53),
        chest=rng.uniform(0.46, 0.53),
        waist=rng.uniform(0.46, 0.52),
        hem=rng.uniform(0.47, 0.55),
        tail=rng.uniform(0.0, 0.04),
        vee=bool(rng.random() < 0.5),
        sleeve=rng.uniform(0.4, 0.5),
        lean=rng.uniform(0.6, 0.95),
        cuff=rng.uniform(0.26, 0.32),
    )
    main = chosen(rng, vivid, vivid, vivid, white, deep, black)
    second = contrast(rng, main)
    third = white(rng) if luminance(second) < 120 else black(rng)
    scene.wrinkle = rng.uniform(0.5, 1.0)
    cloth: Fill = main
    design = int(rng.integers(6))
    if design == 0:
        cloth = stripes(rng, main, second, upright=True)
    elif design == 1:
        cloth = grain(rng, main, 9, 0.2)
    arms = assemble(scene, cut, cloth, second if rng.random() < 0.5 else main)
    with scene.inside(cut.body()):
        y = cut.armpit + rng.uniform(0.0, 0.15)
        if design == 2:
            tall = rng.uniform(0.15, 0.3)
            scene.paint(second, box(-1, y, 1, y + tall))
            scene.paint(third, box(-1, y + tall, 1, y + tall + 0.04), box(-1, y - 0.04, 1, y))
        elif design == 3:
            scene.paint(second, line((-1, -0.9), (-0.55, -0.9), (1, 0.75), (1, 1.1)))
        elif design == 4:
            scene.paint(second, box(0, -1, 1, 1))
        elif design == 5:
            yoke = curve((-1, y), (-0.3, y - 0.2), (0, y - 0.08), (0.3, y - 0.2), (1, y))
            scene.paint(second, joined(yoke, line((1, -1), (-1, -1))))
        if rng.random() < 0.6:
            panel = curve(
                (cut.shoulder, cut.armpit - 0.25),
                (cut.chest - 0.1, cut.armpit + 0.25),
                (cut.hem - 0.15, cut.end + 0.1),
            )
            piece = joined(panel, line((1, 1), (1, -0.4)))
            scene.paint(third, piece, flipped(piece))
    for arm in arms:
        if rng.random() < 0.85:
            for start in (0.55, 0.7) if rng.random() < 0.5 else (0.62,):
                scene.paint(third, arm.part(start, start + 0.08).outline)
        ribbing(scene, second, arm, 0.9)
    neck_trim(scene, cut, third, 0.045)
    ink = third if design in (0, 3, 4) else contrast(rng, second if design == 2 else main)
    rim = black(rng) if luminance(ink) > 120 else white(rng)
    tall = rng.uniform(0.3, 0.5)
    number(scene, ink, rim, 0.0, cut.armpit + rng.uniform(0.0, 0.14), tall)
    badge = cut.chest * 0.55
    scene.paint(
        third,
        curve(
            (badge - 0.06, cut.armpit - 0.16),
            (badge + 0.06, cut.armpit - 0.16),
            (badge + 0.05, cut.armpit - 0.06),
            (badge, cut.armpit - 0.02),
            (badge - 0.05, cut.armpit - 0.06),
            closed=True,
        ),
    )


def mens_shirt(scene: Scene, rng: Random) -> None:
    cut = Cut(
        top=rng.uniform(-0.78, -0.7),
        end=rng.uniform(0.55, 0.68),
        neck=rng.uniform(0.13, 0.16),
        drop=rng.uniform(0.08, 0.13),
        shoulder=rng.uniform(0.43, 0.48),
        chest=rng.uniform(0.42, 0.47),
        waist=rng.uniform(0.4, 0.44),
        hem=rng.uniform(0.41, 0.46),
        tail=rng.uniform(0.06, 0.13),
        sleeve=rng.uniform(1.08, 1.22),
        lean=rng.uniform(1.05, 1.32),
        cuff=rng.uniform(0.13, 0.16),
    )
    ground = chosen(rng, white, pastel, deep, neutral, earth, cool)
    ink, accent = contrast(rng, ground), chosen(rng, deep, white, vivid)
    kind = rng.random()
    cloth: Fill = ground
    if kind < 0.4:
        cloth = checks(rng, ground, ink, accent)
    elif kind < 0.65:
        cloth = stripes(rng, ground, ink, accent)
    arms = assemble(scene, cut, cloth)
    edge = shaded(ground, 0.62)
    for arm in arms:
        ribbing(scene, cloth, arm, 0.88)
        scene.spots(white(rng), 0.015, tuple(arm.part(0.92, 1).rail(0.4)[0]))
    front = cut.top + cut.drop
    buttons = ground if rng.random() < 0.3 else chosen(rng, white, black)
    placket(scene, cloth, front, cut.end + cut.tail, int(rng.integers(6, 9)), buttons)
    w, h = rng.uniform(0.17, 0.21), rng.uniform(0.2, 0.25)
    for x in (0.22, -0.22) if rng.random() < 0.25 else (0.22,):
        y = cut.armpit - 0.02
        pocket = line(
            (x - w / 2, y),
            (x + w / 2, y),
            (x + w / 2, y + h * 0.8),
            (x, y + h),
            (x - w / 2, y + h * 0.8),
        )
        scene.paint(cloth, pocket, level=GROUND + 20)
        scene.stroke(edge, 0.009, joined(pocket, pocket[:1]))
        scene.stroke(edge, 0.009, line((x - w / 2, y + 0.045), (x + w / 2, y + 0.045)))
    shirt_collar(scene, cut, cloth, rng.uniform(0.12, 0.17), rng.uniform(0.08, 0.13))


def womens_shirt(scene: Scene, rng: Random) -> None:
    style = int(rng.integers(4))  # blouse collar, bow, V with frill, scoop with puffed sleeves
    waist = rng.uniform(0.27, 0.33)
    cut = Cut(
        top=rng.uniform(-0.76, -0.62),
        end=rng.uniform(0.55, 0.68),
        neck=rng.uniform(0.14, 0.2),
        drop=(rng.uniform(0.1, 0.15), 0.13, rng.uniform(0.26, 0.38), rng.uniform(0.2, 0.28))[style],
        shoulder=rng.uniform(0.34, 0.39),
        chest=rng.uniform(0.37, 0.41),
        waist=waist,
        hem=waist + rng.uniform(0.12, 0.2),
        tail=rng.uniform(0.06, 0.14),
        vee=style == 2,
        sleeve=float(rng.choice([0.22, 0.34, 0.68])),
        lean=rng.uniform(0.9, 1.2),
        cuff=rng.uniform(0.17, 0.22),
    )
    ground = chosen(rng, pastel, pastel, pastel, white, vivid, earth)
    cloth = print_cloth(rng, ground)
    arms = assemble(scene, cut, cloth)
    trim = base(cloth) if rng.random() < 0.5 else contrast(rng, ground)
    for arm in arms:
        if cut.sleeve > 0.5 or style == 3:
            ribbing(scene, trim, arm, 0.88)
            for across in (0.25, 0.5, 0.75):
                scene.fold(arm.part(0.6, 0.9).rail(across), 0.03, -24)
        else:
            frill = arm.part(0.75, 1.0)
            scene.fold(frill.rail(0.5), 0.05, -20)
    for sign in (-1, 1):
        dart = curve(
            (sign * 0.19, cut.armpit + 0.05), (sign * 0.15, cut.middle), (sign * 0.2, cut.end)
        )
        scene.stroke(shaded(ground, 0.75), 0.007, dart)
        scene.fold(dart, 0.05, -16)
    front = cut.top + cut.drop
    if style in (0, 1):
        placket(
            scene,
            cloth,
            front,
            cut.end + cut.tail,
            int(rng.integers(5, 9)),
            chosen(rng, white, gold),
            width=0.05,
        )
    if style == 0:
        n, t = cut.neck, cut.top
        leaf = curve(
            (0.01, front),
            (0.6 * n, t + 0.04),
            (n, t - 0.05),
            (n + 0.09, t + 0.05),
            (n * 0.95, front + 0.09),
            (0.08, front + 0.09),
            closed=True,
        )
        scene.paint(trim, leaf, flipped(leaf), level=GROUND + 34)
    elif style == 1:
        neck_trim(scene, cut, trim, 0.04)
        loop = curve(
            (0, front), (0.13, front - 0.07), (0.19, front + 0.02), (0.1, front + 0.07), closed=True
        )
        tail = line((0, front), (0.06, front), (0.14, front + 0.36), (0.06, front + 0.34))
        scene.paint(trim, tail, flipped(tail) * (1, 0.9), level=GROUND + 30)
        scene.paint(trim, loop, flipped(loop), level=GROUND + 48)
        scene.spots(shaded(trim, 0.8), 0.03, (0.0, front), level=GROUND + 60)
    elif style == 2:
        for k in range(int(rng.integers(1, 3))):
            outer = cut.neckline(0.06 + 0.06 * k)
            wavy = outer + np.stack([0.018 * np.sin(np.arange(len(outer)) * 2.2)] * 2, axis=1)
            half = joined(wavy, cut.neckline(0.06 * k)[::-1])
            scene.paint(trim, half, flipped(half), level=GROUND + 30)
    else:
        neck_trim(scene, cut, trim, 0.05)
        y = cut.middle
        scene.paint(trim, box(-cut.waist - 0.02, y, cut.waist + 0.02, y + 0.05), level=GROUND - 20)
        for x in np.linspace(-0.8, 0.8, 8) * cut.waist:
            scene.fold(curve((x, y + 0.06), (x * 1.3, cut.end)), 0.04, -18)


def polo_tshirt(scene: Scene, rng: Random) -> None:
    cut = Cut(
        top=rng.uniform(-0.8, -0.7),
        end=rng.uniform(0.66, 0.82),
        neck=rng.uniform(0.14, 0.17),
        drop=rng.uniform(0.09, 0.13),
        shoulder=rng.uniform(0.43, 0.48),
        chest=rng.uniform(0.42, 0.48),
        waist=rng.uniform(0.41, 0.46),
        hem=rng.uniform(0.42, 0.48),
        sleeve=rng.uniform(0.36, 0.46),
        lean=rng.uniform(0.7, 1.05),
        cuff=rng.uniform(0.22, 0.27),
    )
    ground = chosen(rng, vivid, deep, white, black, pastel, neutral)
    trim = contrast(rng, ground) if rng.random() < 0.6 else shaded(ground, 0.85)
    cloth: Fill = grain(rng, ground, 6, 0.25)
    kind = rng.random()
    if kind < 0.3:
        cloth = stripes(rng, ground, contrast(rng, ground), trim, upright=False)
    arms = assemble(scene, cut, cloth)
    if kind > 0.8:
        y = cut.armpit + rng.uniform(0.05, 0.2)
        with scene.inside(cut.body()):
            scene.paint(trim, box(-1, y, 1, y + rng.uniform(0.08, 0.2)))
    for arm in arms:
        ribbing(scene, trim, arm, 0.87)
        if rng.random() < 0.4:
            scene.paint(white(rng), arm.part(0.92, 0.96).outline)
    scene.stroke(
        shaded(ground, 0.75), 0.008, line((-cut.hem, cut.end - 0.045), (cut.hem, cut.end - 0.045))
    )
    front = cut.top + cut.drop
    band = trim if rng.random() < 0.3 else ground
    placket(
        scene,
        band,
        front,
        front + rng.uniform(0.24, 0.34),
        int(rng.integers(2, 4)),
        white(rng) if luminance(band) < 170 else deep(rng),
        width=0.09,
    )
    shirt_collar(scene, cut, trim, rng.uniform(0.15, 0.2), rng.uniform(0.07, 0.11))
    x, y = 0.24, cut.armpit - 0.02
    scene.paint(
        contrast(rng, ground),
        oval(x, y, 0.035, 0.025),
        line((x - 0.03, y + 0.04), (x + 0.03, y + 0.03), (x, y)),
    )


def side_slits(scene: Scene, cut: Cut, ink: Colour) -> None:
    for sign in (-1, 1):
        x = sign * (cut.side(cut.end - cut.slit) - 0.005)
        scene.stroke(ink, 0.012, line((x, cut.end - cut.slit), (sign * (cut.hem - 0.04), cut.end)))


def pyjama(scene: Scene, cut: Cut, fill: Colour, width: float) -> None:
    """The trousers that show below a tunic, down to the edge of the subject's square."""
    for sign in (-1, 1):
        hip = min(cut.hem - 0.08, 0.14 + width)
        leg = Strip(
            curve((sign * hip, cut.end - 0.2), (sign * (0.1 + width), 1.0)),
            curve((sign * 0.02, cut.end - 0.2), (sign * 0.08, 1.0)),
        )
        scene.paint(fill, leg.outline, level=GROUND - 40)
        scene.fold(leg.rail(0.5), 0.05, -60)


def mens_kurta(scene: Scene, rng: Random) -> None:
    cut = Cut(
        top=rng.uniform(-0.95, -0.9),
        end=rng.uniform(0.68, 0.95),
        neck=rng.uniform(0.1, 0.125),
        drop=0.07,
        shoulder=rng.uniform(0.33, 0.37),
        chest=rng.uniform(0.32, 0.36),
        waist=rng.uniform(0.32, 0.36),
        hem=rng.uniform(0.35, 0.41),
        slope=0.1,
        sleeve=rng.uniform(0.88, 1.02),
        lean=rng.uniform(1.22, 1.42),
        cuff=rng.uniform(0.12, 0.15),
        slit=rng.uniform(0.28, 0.42),
        tail=rng.uniform(0.0, 0.02),
    )
    ground = chosen(rng, white, white, earth, pastel, deep, cool, cream)
    kind = rng.random()
    cloth: Fill = ground
    if kind < 0.25:
        cloth = stripes(rng, ground, shaded(ground, 0.88 if luminance(ground) > 90 else 1.15))
    elif kind < 0.5:
        cloth = grain(rng, ground, 10)
    elif kind < 0.6:
        cloth = motifs(rng, ground, shaded(ground, 0.75))
    if cut.end < 0.8 or rng.random() < 0.2:
        pyjama(scene, cut, white(rng) if rng.random() < 0.7 else shaded(ground, 0.6), 0.17)
    arms = assemble(scene, cut, cloth)
    side_slits(scene, cut, shaded(ground, 0.5))
    for arm in arms:
        scene.stroke(shaded(ground, 0.68), 0.01, arm.part(0.94, 0.96).outline[[0, -1]])
    front = cut.top + cut.drop
    worked = rng.random() < 0.35
    band: Fill = contrast(rng, ground) if worked else cloth
    placket(
        scene,
        band,
        front,
        front + rng.uniform(0.42, 0.58),
        int(rng.integers(3, 6)),
        chosen(rng, gold, black, white),
        width=0.07,
    )
    n, t = cut.neck, cut.top
    stand = joined(
        curve((n, t), (0.5 * n, t - 0.08), (-0.5 * n, t - 0.08), (-n, t)),
        curve((-0.7 * n, t + 0.03), (0.7 * n, t + 0.03)),
    )
    scene.paint(shaded(base(band), 0.65), stand, level=GROUND + 10)
    ring = joined(
        curve((0.012, front + 0.015), (0.6 * n, front - 0.02), (n + 0.015, t + 0.01)),
        curve((n * 0.98, t - 0.05), (0.6 * n, t - 0.02), (0.02, front - 0.055)),
    )
    for half in (ring, flipped(ring)):
        scene.paint(band, half, level=GROUND + 34)
        scene.stroke(shaded(base(band), 0.65), 0.008, joined(half, half[:1]))
    if rng.random() < 0.4:
        y = cut.armpit + 0.05
        scene.stroke(shaded(ground, 0.65), 0.008, line((0.14, y), (0.27, y)))


def womens_kurta(scene: Scene, rng: Random) -> None:
    waist = rng.uniform(0.23, 0.27)
    flare = rng.uniform(0.16, 0.36)
    cut = Cut(
        top=rng.uniform(-0.94, -0.88),
        end=rng.uniform(0.5, 0.9),
        neck=rng.uniform(0.12, 0.16),
        drop=rng.uniform(0.13, 0.26),
        shoulder=rng.uniform(0.27, 0.31),
        chest=rng.uniform(0.28, 0.31),
        waist=waist,
        hem=waist + flare,
        slope=0.09,
        vee=bool(rng.random() < 0.25),
        sleeve=rng.uniform(0.66, 0.8),
        lean=rng.uniform(1.02, 1.25),
        cuff=rng.uniform(0.13, 0.17),
        tail=rng.uniform(0.01, 0.06),
        slit=0.0 if flare > 0.24 else rng.uniform(0.25, 0.4),
    )
    ground = chosen(rng, jewel, jewel, jewel, pastel, deep, vivid)
    rich = contrast(rng, ground)
    cloth = print_cloth(rng, ground)
    trim: Fill = border(rng, rich, gold(rng) if rng.random() < 0.6 else white(rng))
    if cut.end < 0.8 or rng.random() < 0.3:
        pyjama(scene, cut, rich if rng.random() < 0.6 else white(rng), 0.08)
    arms = assemble(scene, cut, cloth)
    for x in np.linspace(-0.75, 0.75, int(rng.integers(3, 7))):
        fold = curve((x * cut.waist, cut.middle), (x * cut.hem, cut.end))
        scene.fold(fold, 0.05, int(rng.choice([-20, 14])))
    with scene.inside(cut.body()):
        hemline(scene, cut, trim, rng.uniform(0.07, 0.16))
        if rng.random() < 0.5:
            hemline(scene, cut, gold(rng), 0.02, rng.uniform(0.19, 0.22))
    if cut.slit:
        side_slits(scene, cut, shaded(ground, 0.5))
    for arm in arms:
        ribbing(scene, trim, arm, rng.uniform(0.78, 0.86))
    front = cut.top + cut.drop
    if rng.random() < 0.6:
        deepness = rng.uniform(0.22, 0.42)
        wide = cut.neck + 0.07
        yoke = joined(
            line((wide, cut.top + 0.05)),
            curve(
                (wide * 0.95, front), (0.6 * wide, front + deepness * 0.8), (0, front + deepness)
            ),
            cut.neckline(),
        )
        scene.paint(trim, yoke, flipped(yoke))
        rim = yoke[1 : -len(cut.neckline())]
        scene.stroke(gold(rng), 0.016, rim, flipped(rim))
    else:
        scene.spots(gold(rng), 0.014, *((0.0, front + 0.05 + 0.06 * k) for k in range(5)))
    neck_trim(scene, cut, trim, rng.uniform(0.04, 0.06))
    outer = cut.neckline(0.065)[::2]
    scene.spots(gold(rng), 0.011, *((s * x, y) for x, y in outer.tolist() for s in (-1, 1)))
