"""What all tests have: a cache of their own, which they leave nothing of."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    os.environ["SHAPECALC_CACHE"] = tempfile.mkdtemp(prefix="shapecalc-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(os.environ.pop("SHAPECALC_CACHE"), ignore_errors=True)
