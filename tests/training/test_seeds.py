"""Numbers that never change again."""

from __future__ import annotations

from shapecalc.training.seeds import mix


def test_mix_is_stable_and_spreads() -> None:
    assert mix(0, "order", 1) == 2_961_819_992_523_135_983
    values = {mix(seed, part, i) for seed in range(5) for part in "ab" for i in range(100)}
    assert len(values) == 1000
    assert all(0 <= value < 2**63 for value in values)
