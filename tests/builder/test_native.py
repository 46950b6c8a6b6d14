"""The compiled kernels: made once, kept, and done without where there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import shapecalc
from shapecalc.analysis.rewrites import plan
from shapecalc.analysis.rewrites.draft import Target
from shapecalc.builder.native import library
from shapecalc.builder.rewrites import rewritten

POOLED = """\
input: [3, 9, 9]
layers:
  - max_pool: 2
  - relu
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHAPECALC_CACHE", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    library.cache_clear()
    return tmp_path / "native"


@pytest.mark.skipif(library() is None, reason="no C compiler")
def test_it_is_compiled_once(cache: Path) -> None:
    assert library() is not None
    (made,) = cache.iterdir()
    before = made.stat()
    library.cache_clear()
    assert library() is not None
    assert [p.stat() for p in cache.iterdir()] == [before]


@pytest.mark.parametrize("compiler", ["false", "/does/not/exist", "true"])
def test_without_a_compiler_torch_does_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch, compiler: str
) -> None:
    """`true` claims to have compiled, and leaves nothing."""
    monkeypatch.setenv("CC", compiler)
    assert library() is None
    assert [*cache.rglob("*.so")] == []
    traced = shapecalc.trace(shapecalc.loads(POOLED))
    model = shapecalc.build(traced)
    made = rewritten(model, plan(traced, training=True, batch=2, target=Target(kernels=True)))
    x = torch.randn(2, 3, 9, 9)
    assert torch.equal(made(x), model(x))


def test_it_can_be_left_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAPECALC_NATIVE", "0")
    assert library() is None
    assert not cache.exists()


@pytest.mark.skipif(library() is None, reason="no C compiler")
def test_several_processes_may_compile_at_once(cache: Path) -> None:
    program = "from shapecalc.builder.native import library; assert library() is not None"
    processes = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(os.listdir(cache)) == 1
