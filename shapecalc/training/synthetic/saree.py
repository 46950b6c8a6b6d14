"""The saree, draped on a figure."""

from __future__ import annotations

from .cloth import (
    Cloth,
    Random,
    border,
    chosen,
    contrast,
    deep,
    gold,
    hsv,
    jewel,
    pastel,
    print_cloth,
    shaded,
    vivid,
    white,
)
from .curves import Strip, box, curve, joined, line, mirrored
from .scene import GROUND, Scene


def saree(scene: Scene, rng: Random) -> None:
    skin = hsv(rng.uniform(0.05, 0.085), rng.uniform(0.3, 0.6), rng.uniform(0.5, 0.9))
    if rng.random() < 0.3:
        skin = hsv(0.09, rng.uniform(0, 0.12), rng.uniform(0.75, 0.95))  # a shop mannequin
    ground = chosen(rng, jewel, jewel, vivid, pastel, deep)
    edge = contrast(rng, ground)
    thread = gold(rng) if rng.random() < 0.75 else white(rng)
    cloth = print_cloth(rng, ground)
    trim = border(rng, edge, thread)
    blouse = edge if rng.random() < 0.6 else contrast(rng, edge)
    hip, flare = rng.uniform(0.22, 0.27), rng.uniform(0.34, 0.46)
    width = rng.uniform(0.07, 0.13)

    end, swing = rng.uniform(0.3, 0.75), rng.uniform(0.46, 0.6)
    drop = Strip(
        curve((0.12, -0.8), (0.14, -0.4), (0.16, 0.1), (0.2, end)),
        curve((0.27, -0.79), (0.38, -0.45), (0.46, 0.0), (swing, end)),
    )
    scene.paint(cloth, drop.outline, level=GROUND - 30)
    scene.paint(trim, drop.part(rng.uniform(0.76, 0.88), 1).outline, drop.part(0, 1, 0.8).outline)
    for across in (0.3, 0.5, 0.7):
        scene.fold(drop.part(0.3, 1).rail(across), 0.04, -60)

    neck = Strip(
        curve((-0.06, -0.98), (-0.065, -0.88), (-0.2, -0.82)),
        curve((0.06, -0.98), (0.065, -0.88), (0.2, -0.82)),
    )
    scene.paint(
        skin,
        neck.outline,
        box(-0.17, -0.84, 0.17, -0.62),
        box(-0.16, -0.6, 0.16, -0.28),
        level=GROUND - 10,
    )
    lean = rng.uniform(0.04, 0.16)
    for sign in (-1, 1):
        elbow = (sign * (0.29 + lean), -0.36)
        hand = (sign * (0.27 + lean), rng.uniform(-0.05, 0.05))
        scene.stroke(skin, 0.075, curve((sign * 0.25, -0.76), elbow, hand), level=GROUND - 12)
        sleeve = curve((sign * 0.23, -0.77), (sign * (0.27 + lean * 0.6), -0.52))
        scene.stroke(blouse, 0.115, sleeve, level=GROUND)
        scene.stroke(
            trim,
            0.03,
            line((sign * (0.2 + lean * 0.6), -0.515), (sign * (0.34 + lean * 0.6), -0.535)),
        )
    bodice = mirrored(
        joined(
            curve((0, -0.64), (0.1, -0.69), (0.12, -0.84)),
            line((0.24, -0.79)),
            curve((0.2, -0.62), (0.18, -0.42)),
            line((0, -0.4)),
        )
    )
    scene.paint(blouse, bodice, level=GROUND)

    skirt = Strip(
        curve((-0.17, -0.32), (-hip, -0.05), (-0.9 * flare, 0.5), (-flare, 0.95)),
        curve((0.17, -0.34), (hip, -0.05), (0.88 * flare, 0.5), (flare, 0.94)),
    )
    scene.paint(cloth, skirt.outline, level=GROUND)
    scene.paint(trim, skirt.part(1 - width, 1.0).outline)
    scene.stroke(thread, 0.014, line(*map(tuple, skirt.part(1 - width, 1.0).outline[[0, -1]])))

    count = int(rng.integers(5, 9))
    fan = skirt.part(0.02, 1.0, rng.uniform(0.3, 0.4), rng.uniform(0.66, 0.8))
    for k in range(count):
        scene.fold(fan.rail((k + 0.5) / count), 0.045, -70 if k % 2 else 40)
    scene.stroke(shaded(ground, 0.72), 0.008, *(fan.rail((k + 0.5) / count) for k in range(count)))
    for across in rng.uniform(0.02, 0.28, 3).tolist() + rng.uniform(0.82, 0.98, 2).tolist():
        scene.fold(skirt.part(0.1, 0.95).rail(across), 0.06, int(rng.choice([-30, 22])))

    sash = rng.uniform(0.2, 0.3)
    pallu = Strip(
        curve((-0.19, -0.33), (-0.1, -0.5), (0.06, -0.7), (0.15, -0.85)),
        curve((0.03, -0.33 + sash), (0.2, -0.32 + sash * 0.3), (0.25, -0.55), (0.29, -0.78)),
    )
    tuck = Strip(
        curve((-0.2, -0.34), (0.0, -0.33), (0.2, -0.36)),
        curve((-0.24, -0.16), (0.02, -0.33 + sash + 0.04), (0.24, -0.1)),
    )
    scene.paint(cloth, tuck.outline, level=GROUND + 8)
    turn = 0.6
    scene.paint(
        cloth.turned(turn) if isinstance(cloth, Cloth) else cloth, pallu.outline, level=GROUND + 24
    )
    scene.paint(trim, pallu.part(0, 1, 0.0, rng.uniform(0.18, 0.3)).outline)
    scene.stroke(thread, 0.012, pallu.rail(0.02), pallu.rail(0.3))
    for across in (0.42, 0.6, 0.8):
        scene.fold(pallu.rail(across), 0.04, -34)
