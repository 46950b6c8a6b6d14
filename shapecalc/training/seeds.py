"""Choices by chance that come out the same on every machine: functions of a seed and of names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import torch

Key = TypeVar("Key", str, int)


def mix(seed: int, *parts: int | str) -> int:
    """A number from 0 to 2^63 - 1, well mixed and the same on every machine and version."""
    text = "/".join(map(str, (seed, *parts))).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def set_aside(keys: Sequence[Key], share: float, seed: int) -> set[Key]:
    """The keys that go to validation: `share` of them, at least one, and never all.

    Those of lowest hash: a picture that is added or removed moves hardly any other.
    """
    count = min(max(round(len(keys) * share), 1), len(keys) - 1)
    return set(sorted(keys, key=lambda key: mix(seed, "split", key))[:count])


def seed_torch(seed: int, device: torch.device) -> None:
    """Seeds the CPU and this device; torch.manual_seed would reach every device."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
