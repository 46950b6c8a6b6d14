"""A run that is killed with -9, wherever it is, goes on to the same end to the last bit; the
campaign is benchmarks/chaos.py."""

from __future__ import annotations

from pathlib import Path
from random import Random

from kills import SETTINGS, Kills


def test_killed_runs_come_to_the_same_end(tmp_path: Path) -> None:
    kills = Kills(tmp_path)
    random = Random(3)
    try:
        for name in list(SETTINGS)[:3]:
            end = kills.end(name, random)
            assert end.kills
            assert not end.faults
    finally:
        kills.close()
