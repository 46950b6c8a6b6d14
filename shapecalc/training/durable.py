"""Names in a folder that outlast a loss of power."""

from __future__ import annotations

import os
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """Write the names in a folder to disk, as fsync does the contents of a file."""
    if os.name == "nt":  # cannot open one
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
