"""A whole spec built: modules under the rows' paths, running, and refused where it cannot be."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from shapecalc import Spec, SpecError, build, load, loads, trace, train

SPECS = sorted((Path(__file__).parents[2] / "specs").rglob("*.yaml"))

NESTED = """\
input: [3, 8, 8]
layers:
  - conv: {name: entry, out_channels: 4, kernel_size: 3}
  - relu
  - sequential:
      name: stem
      layers:
        - batch_norm
        - sequential: [relu, {conv: {name: inner, out_channels: 2, kernel_size: 1}}]
  - sequential: [flatten, linear: 5]
"""


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_every_spec_has_the_shapes_of_its_trace_throughout(path: Path) -> None:
    traced = trace(load(path))
    with torch.device("meta"):
        model = build(traced).eval()
        seen: dict[str, tuple[int, ...]] = {}
        for row in traced.rows:
            model.get_submodule(row.path).register_forward_hook(
                lambda _, args, out, path=row.path: seen.update({path: tuple(out.shape[1:])})
            )
        model(torch.empty(2, *traced.input_shape))
    assert seen == {row.path: row.output_shape for row in traced.rows}


def test_modules_lie_under_their_rows_path_and_run_in_order() -> None:
    traced = trace(loads(NESTED))
    model = build(traced)
    assert all(model.get_submodule(row.path) is not model for row in traced.rows)
    kinds = {row.path: type(model.get_submodule(row.path)).__name__ for row in traced.rows}
    assert kinds["stem.1.inner"] == "Conv2d"
    assert kinds["layers.3.1"] == "Linear"
    x = torch.randn(2, 3, 8, 8)
    by_hand = x
    for step in ("entry", "layers.1", "stem", "layers.3"):
        by_hand = model.get_submodule(step)(by_hand)
    assert torch.equal(model(x), by_hand)


def test_state_loads_back_strictly_and_gives_the_same_output() -> None:
    first, second = build(loads(NESTED)).eval(), build(loads(NESTED)).eval()
    x = torch.randn(2, 3, 8, 8)
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(x), second(x))


def test_built_network_is_a_plain_module_that_trains() -> None:
    torch.manual_seed(0)
    model = build(loads(NESTED))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 5
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_network_without_layers_is_the_identity() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(build(Spec(input=(3,), layers=[]))(x), x)


def test_model_too_large_for_memory_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(SpecError, match="are free") as caught:
        build(loads("input: [1000000000]\nlayers:\n  - relu\n  - linear: 1000000000\n"))
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.path) == ("E302", "layers.1")
    assert diagnostic.place is not None
    assert diagnostic.place.line == 4


def test_meta_device_takes_a_model_of_any_size() -> None:
    with torch.device("meta"):
        model = build(Spec(input=(10**6,), layers=[{"linear": 10**6}]))
    assert next(model.parameters()).numel() == 10**12


TRAIN = "\ntrain: {data: {synthetic_apparel: {train: 1, valid: 1}}, epochs: 1, workers: 0}\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "input: [3, 1000000, 1000000]\nlayers: [adaptive_avg_pool: 1, flatten, linear: 15]",
            1,
            "the input is [3, 1000000, 1000000]: one sample needs 11,175.87 GiB, and 1.00 GiB are",
        ),
        (
            "input: [3, 64, 64]\nlayers:\n  - conv: {out_channels: 1000000000, kernel_size: 3}\n"
            "  - adaptive_avg_pool: 1\n  - flatten\n  - linear: 15",
            3,
            "conv gives [1000000000, 62, 62]: one sample needs 14,320.02 GiB, and 1.00 GiB",
        ),
        (
            "input: [3, 8, 8]\nlayers:\n  - flatten\n  - linear: 2000000\n  - linear: 15",
            4,
            "the parameters need 1.55 GiB, and 1.00 GiB are free",
        ),
    ],
    ids=["input", "activation", "parameters"],
)
def test_training_beyond_memory_is_refused_before_it_is_taken(
    text: str, line: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shapecalc.builder.network.available_memory", lambda: 2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SpecError) as caught:
        train(loads(text + TRAIN), out=tmp_path / "run", device="cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "E302"
    assert diagnostic.message.startswith(said)
    assert diagnostic.place is not None
    assert diagnostic.place.line == line
    assert not (tmp_path / "run").exists()
