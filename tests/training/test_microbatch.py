"""Where memory runs out, fewer samples go through the network at once, and the step stays."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training_fixtures import (
    HEAD,
    PLAIN,
    Ear,
    Stop,
    metrics,
    photographs,
    refusal,
    same_run,
    spec,
    tensors,
)

import shapecalc
from shapecalc.diagnostics import SpecError

WITHOUT_CHANCE = (*PLAIN, HEAD)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photographs(tmp_path_factory.mktemp("data"), splits={"train": 8, "valid": 4})


def room_for(samples: int, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """A convolution of more than so many finds no memory."""
    forward = nn.Conv2d._conv_forward

    def limited(self: nn.Conv2d, pixels: Tensor, *weights: Any) -> Tensor:
        if len(pixels) > samples:
            raise kind("DefaultCPUAllocator: not enough memory: you tried to allocate")
        return forward(self, pixels, *weights)

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", limited)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_step_is_the_same_in_smaller_parts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    given = spec(data, layers=WITHOUT_CHANCE, batch_size=8, accumulate=2)
    shapecalc.train(given, out=tmp_path / "whole")
    room_for(3, monkeypatch, kind)
    ear = Ear()
    shapecalc.train(given, out=tmp_path / "parts", reporter=ear)
    assert "out of memory with 8 images at once: going on with 4, and still 16 to a step" in (
        ear.notes
    )
    assert "out of memory with 4 images at once: going on with 2, and still 16 to a step" in (
        ear.notes
    )
    assert ear.said.count("out of memory") == 2
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=1e-5, atol=1e-6)
    for one, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "parts"), strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_a_resumed_run_goes_on_with_parts_of_that_size(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = spec(data, layers=(*PLAIN, "dropout: 0.3", HEAD), batch_size=8)
    room_for(4, monkeypatch, torch.OutOfMemoryError)
    shapecalc.train(given, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        shapecalc.train(given, out=tmp_path / "parts", reporter=Stop(1))
    ear = Ear()
    shapecalc.resume(tmp_path / "parts", reporter=ear)
    assert "out of memory" not in ear.said
    assert same_run(tmp_path / "whole", tmp_path / "parts")


def test_batch_norm_is_told_of(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = spec(data, layers=(*PLAIN[:1], "batch_norm", *PLAIN[1:], HEAD), epochs=1)
    room_for(4, monkeypatch, torch.OutOfMemoryError)
    ear = Ear()
    shapecalc.train(given, out=tmp_path / "run", reporter=ear)
    assert "batch_norm sees 4 at a time from here on" in ear.said


def test_no_room_for_one_is_an_error_with_the_estimate(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_for(0, monkeypatch, torch.OutOfMemoryError)
    given = spec(data, layers=WITHOUT_CHANCE)
    found = refusal(SpecError, lambda: shapecalc.train(given, out=tmp_path / "run"), "E302")
    assert re.fullmatch(
        r"there is no room for a step with one image at once: it is estimated at [\d.]+ KiB, and "
        r"[\d.]+ GiB are free",
        found.message,
    )
    assert found.place is not None
    assert found.help


SCRIPT = """
import resource, sys
from pathlib import Path
import torch
from training_fixtures import Ear, spec
import shapecalc
from shapecalc.training import loop, synthetic

torch.set_num_threads(1)
layers = ["conv: {out_channels: 128, kernel_size: 3}", "relu", "adaptive_avg_pool: 1", "flatten",
          "linear: ${classes}"]
text = dict(layers=layers, batch_size=32, epochs=1, optimizer="sgd", workers=0)
given = spec(Path(sys.argv[1]), overrides={"input": "[3, 96, 96]"}, **text)
shapecalc.train(spec(Path(sys.argv[1]), **text), out=sys.argv[2])  # all that is imported late
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 200 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
ear = Ear()
shapecalc.train(given, out=sys.argv[3], reporter=ear)
print(ear.said)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits")
def test_memory_that_really_runs_out(tmp_path: Path) -> None:
    """32 images need 149 MB for one of the activations, and more than one is needed."""
    data = photographs(tmp_path / "data", splits={"train": 16, "valid": 4})
    tests = str(Path(__file__).parents[1])
    folders = (str(data), str(tmp_path / "first"), str(tmp_path / "second"))
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {tests!r})\n{SCRIPT}", *folders],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "out of memory with 32 images at once: going on with 16" in done.stdout
    assert len(metrics(tmp_path / "second")) == 1
