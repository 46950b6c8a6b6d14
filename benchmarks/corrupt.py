"""Corrupt pictures among good ones: `python benchmarks/corrupt.py [--count 1000] [--seed 7]`.

Drawn apparel is stored in every format that is read, so many files are corrupted, and
`shapecalc train` is run on all of them as a user would: with and without workers, and with
--skip-bad. Each file that is not whole has to be named, no good one, and nothing may hang.

A flipped bit, a lost block, or a tail of zeros where a format has no mark of its end, can leave a
file that a decoder takes, with other pixels: nothing in it can tell. Those are counted apart.

A full campaign writes benchmarks/results/corrupt.md. Exits with 1 where something was not named.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import PIL
from PIL import Image, features

from shapecalc.training.synthetic import CATEGORIES, draw

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks/results/corrupt.md"
COUNT = 1_000
GOOD = 200
SECONDS = 600

FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    "JPEG": (".jpg", {"quality": 90}),
    "JPEG, progressive": (".jpeg", {"quality": 85, "progressive": True}),
    "PNG": (".png", {}),
    "GIF": (".gif", {}),
    "WEBP": (".webp", {"quality": 90}),
    "BMP": (".bmp", {}),
    "TIFF": (".tiff", {"compression": "tiff_deflate"}),
    "PPM": (".ppm", {}),
}
if features.check("avif"):
    FORMATS["AVIF"] = (".avif", {"quality": 80})
CHECKED = {"PNG"}
"""Formats with a checksum over all pixels."""
ENDED = {"JPEG", "JPEG, progressive", "PNG", "GIF"}
"""Formats with a mark of the end."""


def cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(1, len(data))]


def zero_tail(data: bytes, random: Random) -> bytes:
    """A download that was laid out at full length and broke off."""
    start = random.randrange(1, len(data) - 1)
    return data[:start] + bytes(len(data) - start)


def lost_block(data: bytes, random: Random) -> bytes:
    start = random.randrange(len(data))
    return (data[:start] + bytes(512) + data[start + 512 :])[: len(data)]


def flipped_bit(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(changed)


def empty(data: bytes, random: Random) -> bytes:
    return b""


def page(data: bytes, random: Random) -> bytes:
    return b"<!doctype html><title>404 Not Found</title>"


def noise(data: bytes, random: Random) -> bytes:
    return random.randbytes(len(data))


CORRUPTIONS: tuple[Callable[[bytes, Random], bytes], ...] = (
    cut, cut, cut, zero_tail, lost_block, flipped_bit, empty, page, noise,
)  # fmt: skip


def encoded(image: Image.Image, name: str) -> bytes:
    file = io.BytesIO()
    image.save(file, name.split(",")[0], **FORMATS[name][1])
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray | None:
    """What Pillow alone makes of a file; None where it refuses it."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:  # whatever decoders raise
        return None


def fill(root: Path, count: int, random: Random) -> dict[Path, tuple[str, str, str]]:
    """Good pictures and corrupt ones: of each corrupt file its format, how it was corrupted, and
    `whole`, `other pixels` or `broken`, as Pillow alone sees it."""
    names = CATEGORIES[:3]
    images = [draw(names[i % 3], 0, "train", i, size=160) for i in range(12)]
    corrupt: dict[Path, tuple[str, str, str]] = {}
    for i in range(count + GOOD):
        name = list(FORMATS)[i % len(FORMATS)]
        data = encoded(images[i % len(images)], name)
        split = "valid" if i % 5 == 0 else "train"
        folder = root / split / names[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{i:04}{FORMATS[name][0]}"
        if i >= GOOD:
            how = CORRUPTIONS[(i // len(FORMATS)) % len(CORRUPTIONS)]
            changed = how(data, random)
            was, now = pixels(data), pixels(changed)
            state = "broken" if now is None else "other pixels"
            if now is not None and was is not None and np.array_equal(was, now):
                state = "whole"
            corrupt[path] = name, how.__name__, state
            data = changed
        path.write_bytes(data)
    return corrupt


def train(root: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], float]:
    spec = root.parent / "spec.yaml"
    spec.write_text(
        "input: [3, 16, 16]\nparams: {classes: 3}\n"
        "layers: [{conv: {out_channels: 4, kernel_size: 3}}, relu, flatten, linear: '${classes}']\n"
        f"train: {{data: {{folder: {json.dumps(str(root))}}}, epochs: 1}}\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "shapecalc", "train", str(spec), *words],
        cwd=root.parent,
        env={**os.environ, "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return done, time.monotonic() - started


def named(text: str, files: list[Path]) -> set[Path]:
    return {path for path in files if f"{path} " in text}


def main() -> int:
    parser = argparse.ArgumentParser(description="Train on corrupt pictures among good ones.")
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="corrupt") as folder:
        root = Path(folder) / "data"
        corrupt = fill(root, given.count, Random(given.seed))
        files = [path for path in root.rglob("*") if path.is_file()]
        found: dict[str, set[Path]] = {}
        seconds: dict[str, float] = {}
        for how, words in {
            "no worker": ["--set", "train.workers=0"],
            "two workers": ["--set", "train.workers=2"],
            "--skip-bad": ["--skip-bad", "--out", "run"],
        }.items():
            done, seconds[how] = train(root, *words)
            found[how] = named(done.stderr, files)
            if done.returncode != (0 if how == "--skip-bad" else 1) or "Traceback" in done.stderr:
                faults.append(f"{how}: exit code {done.returncode}: {done.stderr[-500:]}")
        bad = found["no worker"]
        if any(other != bad for other in found.values()):
            faults.append("the three runs name different files")
        faults += [f"{path.name} is good and named" for path in bad - set(corrupt)]
        rows: Counter[tuple[str, str, str]] = Counter()
        for path, (name, how, state) in corrupt.items():
            fate = "named" if path in bad else state
            rows[how, fate, name] += 1
            if fate == "broken" or (fate == "other pixels" and not _may_pass(how, name)):
                faults.append(f"{path.name}, {name}, {how}: {fate} and not named")
        trained = _pictures(Path(folder) / "run")
        if trained != len(files) - len(bad):
            faults.append(f"{trained} pictures were used of {len(files) - len(bad)} that are good")
    text = table(rows, len(bad), given.seed, len(corrupt), seconds, faults)
    print(text)
    if given.count >= COUNT:
        RESULT.write_text(text)
    return 1 if faults else 0


def _may_pass(how: str, format: str) -> bool:
    """Whether a decoder cannot know that the pixels are others."""
    if how == "zero_tail":
        return format not in ENDED
    return how in ("flipped_bit", "lost_block") and format not in CHECKED


def _pictures(run: Path) -> int:
    import torch

    saved = torch.load(run / "state.pt", weights_only=True)
    return sum(split["count"] for split in saved["pictures"].values())


def table(
    rows: Counter[tuple[str, str, str]],
    bad: int,
    seed: int,
    count: int,
    seconds: dict[str, float],
    faults: list[str],
) -> str:
    fates = ("named", "whole", "other pixels", "broken")
    lines = [
        "# Corrupt pictures among good ones",
        "",
        f"`make corrupt`, seed {seed}, {datetime.now(UTC):%Y-%m-%d}: {count} "
        f"corrupted files among {GOOD} good ones, in {len(FORMATS)} formats; {bad} named, the "
        "same by each of the three runs; `--skip-bad` trained on exactly the others.",
        "",
        "`whole`: not named, and its pixels are those before. `other pixels`: not named, and "
        "decoded to something else, in formats that have no checksum, or no mark of their end, "
        "to tell by. `broken`: not named though Pillow refuses it.",
        "",
        "| corruption | named | whole | other pixels | broken | formats with other pixels |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for how in dict.fromkeys(function.__name__ for function in CORRUPTIONS):
        of = {fate: sum(rows[how, fate, name] for name in FORMATS) for fate in fates}
        passed = [f"{name} {n}" for name in FORMATS if (n := rows[how, "other pixels", name])]
        cells = " | ".join(str(of[fate]) for fate in fates)
        lines.append(f"| {how.replace('_', ' ')} | {cells} | {', '.join(passed)} |")
    lines += ["", f"{len(faults)} faults.", *(f"- {fault}" for fault in faults), ""]
    times = ", ".join(f"{how} {took:.0f} s" for how, took in seconds.items())
    lines.append(f"Python {platform.python_version()}, Pillow {PIL.__version__}; {times}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
