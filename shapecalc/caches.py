"""Where what can be made anew is kept between runs."""

import os
from pathlib import Path

CACHE = "SHAPECALC_CACHE"
"""The environment variable that names another place for it."""


def cache_root() -> Path:
    """$SHAPECALC_CACHE, or shapecalc's part of the user's cache."""
    if given := os.environ.get(CACHE):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "shapecalc"
