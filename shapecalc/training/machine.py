"""What a run was trained on, written beside it: device, precision, versions, and when."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torchvision

from shapecalc import __version__
from shapecalc.analysis.runs import MACHINE, read_machine
from shapecalc.training import checkpoint
from shapecalc.training.device import Precision, cpu_name


def write(folder: Path, device: torch.device, precision: Precision) -> None:
    """Note the machine in a run's folder; a run that goes on keeps the time when it began.

    Raises RunError.
    """
    began = read_machine(folder).get("started")
    found = describe(device, precision) | ({"started": began} if began else {})
    checkpoint.write_text(folder / MACHINE, json.dumps(found, indent=2) + "\n")


def describe(device: torch.device, precision: Precision) -> dict[str, Any]:
    """This machine and the time, as plain values."""
    gpu = device.type == "cuda"
    found: dict[str, Any] = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device.type,
        "model": torch.cuda.get_device_name(device) if gpu else cpu_name(),
        "precision": precision.name,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "shapecalc": __version__,
    }
    return found | ({"cuda": torch.version.cuda} if gpu else {})
