"""Each fault of training and its data, with the tests that make it happen for real.

`python benchmarks/faults.py` runs them and writes benchmarks/results/faults.md. Exits with 1 where
one fails, or where a pattern fits no test.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import torch

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks/results/faults.md"

FAULTS: dict[str, dict[str, tuple[str, ...]]] = {
    "Data": {
        "hidden folders, an empty class": (
            "test_splits: what_is_ignored_is_said|ignored_is_counted_once|every_empty_class",
        ),
        "train and valid with different classes": (
            "test_splits: different_classes|a_class_less_in_validation",
            "test_resume: other_classes_are_refused",
        ),
        "classes other than the outputs": (
            "test_prepare: wrong_number_of_outputs|line_to_mend|classes_that_were_set",
        ),
        "truncated, empty, or HTML as a picture": (
            "test_images: truncated|what_is_no_image",
            "test_prepare: pictures_that_cannot_be_read",
            "test_samples: ",
            "test_commands: broken_picture",
        ),
        "decompression bomb": ("test_images: decompression_bomb",),
        "CMYK, palette, 16 bits, alpha, EXIF, animation": (
            "test_images: colours|cmyk|transparent|animation|exif|pixels_without",
        ),
        "a file that disappears, a folder without permission": (
            "test_changing_data: ",
            "test_images: missing_file",
            "test_splits: may_not_be_read|may_be_listed",
            "test_run: breaks_during_evaluation|data_that_has_gone",
        ),
    },
    "Training": {
        "kill -9 at any moment": ("test_kills: ", "test_resume: killed_process"),
        "SIGTERM or Ctrl-C in a step, in evaluation, in a save": (
            "test_stop: ",
            "test_resume: asked_to_stop",
        ),
        "loss NaN or inf": (
            "test_loop: no_number|fatal_step",
            "test_commands: no_number",
        ),
        "out of memory": ("test_microbatch: ",),
        "workers changed between runs": (
            "test_loader: any_number_of_workers",
            "test_resume: left_within_an_epoch|stopped_run",
        ),
        "a finished run, or more epochs": ("test_resume: finished_run|more_epochs|stopped_early",),
        "disk full, an I/O error in a save": (
            "test_saved: each_write_may_fail|disk",
            "test_checkpoint: failing_save|full_disk|cannot_save|folder_that_has_gone",
        ),
        "newest checkpoint truncated or a bit flipped": (
            "test_saved: damaged|state_before",
            "test_checkpoint: truncated|flipped_bit|damage|changed_are_noticed",
        ),
        "a malicious pickle": (
            "test_checkpoint: pickle",
            "test_saved: pickle",
            "test_start: pickle",
        ),
        "an edited spec": ("test_resume: another_network|another_optimizer",),
        "two runs into one folder": ("test_lock: ",),
        "evaluation over several processes with a remainder": (
            "test_distributed: counted_once",
            "test_evaluate: counted_once",
        ),
        "one of several processes killed": ("test_distributed: killed",),
    },
    "Commands": {
        "missing file, folder, permission": (
            "test_cli: wrong_words|wrong_usage|no_permission",
            "test_source: cannot_be_read|missing_file",
        ),
        "broken pipe": ("test_cli: closed_pipe|test_head",),
        "no terminal, a narrow one, NO_COLOR": (
            "test_cli: narrow|senseless_width|coloured|user_wants_none|as_wide_as_the_terminal",
        ),
        "names that are code": ("test_python: names_that_are_code|names_of_layers",),
    },
}
"""By section and fault the tests: a file's name, and a pattern in the names of its tests."""


def cases() -> Counter[tuple[str, str, str]]:
    """How often a test of a file came to an end: passed, skipped or failed."""
    files = {
        pattern.split(": ")[0] for rows in FAULTS.values() for p in rows.values() for pattern in p
    }
    paths = [str(path) for name in files for path in (ROOT / "tests").rglob(f"{name}.py")]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        words = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *paths]
        subprocess.run(words, cwd=ROOT, check=False)
        found: Counter[tuple[str, str, str]] = Counter()
        for case in ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            how = "failed" if kinds & {"failure", "error"} else "passed"
            how = "skipped" if "skipped" in kinds else how
            module = next(p for p in case.get("classname", "").split(".") if p.startswith("test_"))
            found[module, case.get("name", "").split("[")[0], how] += 1
        return found


def main() -> int:
    found = cases()
    wrong = False
    lines = [
        "# Faults that are made to happen",
        "",
        f"`make faults`, {datetime.now(UTC):%Y-%m-%d}: real processes killed, disks filled, files "
        "cut. What is asked for at random by the hundred is in chaos.md, corrupt.md and fuzz.md.",
        "",
        "| fault | passed | skipped | failed | tests |",
        "|---|---:|---:|---:|---|",
    ]
    for section, rows in FAULTS.items():
        lines.append(f"| **{section}** | | | | |")
        for fault, patterns in rows.items():
            counts: Counter[str] = Counter()
            names: list[str] = []
            for pattern in patterns:
                module, _, words = pattern.partition(": ")
                fits = [k for k in found if k[0] == module and re.search(words or ".", k[1])]
                for key in fits:
                    counts[key[2]] += found[key]
                names.append(f"{module} ({len({k[1] for k in fits})})")
                wrong |= not fits
            wrong |= bool(counts["failed"])
            cells = " | ".join(str(counts[how]) for how in ("passed", "skipped", "failed"))
            lines.append(f"| {fault} | {cells} | {', '.join(names)} |")
    lines += ["", f"Python {platform.python_version()}, torch {torch.__version__}."]
    RESULT.write_text("\n".join(lines) + "\n")
    print(RESULT.read_text())
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
