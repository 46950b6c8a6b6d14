"""Rewritten networks are those that were written: in outputs, gradients and all that is learnt."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import shapecalc
from shapecalc.analysis.rewrites import Plan, plan
from shapecalc.analysis.rewrites.draft import Target
from shapecalc.builder.native import library
from shapecalc.builder.rewrites import rewritten
from shapecalc.language.recipe import Rewrite

CPU = Target(kernels=True)
EAGER = Target(moved=10**9, gpu=True, kernels=True)
"""One that counts every number that is moved as dear, so that all is rewritten that can be."""
CLASSES, BATCH = 3, 6

ints = st.integers


def networks() -> st.SearchStrategy[list[Any]]:
    """Layers in a row, among them those that rewrites look for, and residuals of them."""
    flag = st.booleans()
    conv = st.builds(
        lambda **given: {"conv": given},
        out_channels=st.sampled_from([2, 4, 6]),
        kernel_size=ints(1, 3),
        stride=st.sampled_from([1, 1, 1, 2]),
        padding=st.sampled_from([0, 0, 0, 1]),
        dilation=st.sampled_from([1, 1, 2]),
        groups=st.sampled_from([1, 1, 2]),
        bias=flag,
    )
    window = st.builds(
        lambda **given: given,
        kernel_size=ints(2, 3),
        stride=ints(1, 3),
        padding=ints(0, 1),
        ceil_mode=flag,
    )
    pool = window.map(lambda given: {"max_pool": given})
    mean = st.just({"avg_pool": 2})
    act = st.sampled_from(
        ["relu", {"relu": {"inplace": True}}, "sigmoid", "tanh", {"leaky_relu": 0.2}, "gelu", "elu"]
    )
    leaf = st.one_of(conv, conv, conv, pool, act, st.just("batch_norm"), mean)
    point = st.just({"conv": {"out_channels": 4, "kernel_size": 1}})
    residual = st.tuples(st.lists(act | point, max_size=3), point).map(
        lambda drawn: {"residual": {"layers": [*drawn[0], drawn[1]], "shortcut": [drawn[1]]}}
    )
    return st.lists(st.one_of(leaf, leaf, leaf, residual), min_size=1, max_size=7)


def spec_of(layers: list[Any], size: int = 14, channels: int = 2) -> Any:
    head = ["flatten", {"linear": 5}, {"linear": CLASSES}]
    return shaped([channels, size, size], [*layers, *head])


def shaped(shape: list[int], layers: list[Any]) -> Any:
    return shapecalc.loads(json.dumps({"input": shape, "layers": layers}))


class Pair:
    """A network as it is written and rewritten, on the same pixels."""

    def __init__(
        self,
        spec: Any,
        dtype: torch.dtype,
        target: Target,
        training: bool = True,
        batch: int = BATCH,
    ) -> None:
        traced = shapecalc.trace(spec)
        self.plan: Plan = plan(traced, training=training, batch=batch, target=target)
        torch.manual_seed(0)
        self.plain = shapecalc.build(traced).to(dtype, memory_format=torch.channels_last)
        channels, *size = traced.input_shape
        self.scale = torch.rand(channels, dtype=dtype) / 60 + 1e-3
        self.shift = -torch.rand(channels, dtype=dtype)
        self.pixels = torch.randint(0, 256, (batch, channels, *size)).to(dtype)
        self.labels = torch.randint(CLASSES, (batch,))
        self.other = copy.deepcopy(self.plain)
        made = rewritten(self.other, self.plan, (self.scale, self.shift))
        whole = self.plan.normalizes
        self.ways: tuple[tuple[nn.Module, Callable[[Tensor], Tensor]], ...] = (
            (self.plain, lambda x: self.plain(self.normal(x))),
            (self.other, lambda x: made(x if whole else self.normal(x))),
        )
        self.made = made

    def normal(self, x: Tensor) -> Tensor:
        return x * self.scale.view(-1, 1, 1) + self.shift.view(-1, 1, 1)

    def steps(self, count: int) -> list[list[Tensor]]:
        """Of each way the losses, the gradients of the first step and the parameters after all."""
        found = []
        for model, run in self.ways:
            model.train()
            self.made.train()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            losses, first = [], list[Tensor]()
            for number in range(count):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(run(self.pixels), self.labels)
                try:
                    loss.backward()
                except RuntimeError as error:  # torch refuses some layers in place
                    assume("inplace" not in str(error))
                    raise
                losses.append(loss.detach())
                if number == 0:
                    first = [p.grad.clone() for p in model.parameters() if p.grad is not None]
                optimizer.step()
            state = [t.clone() for t in model.state_dict().values()]
            found.append([torch.stack(losses), *first, *state])
        return found


def agree(pair: Pair, count: int, tolerance: float) -> None:
    plain, made = pair.steps(count)
    for a, b in zip(plain, made, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def valid(layers: list[Any]) -> Any:
    """A spec of layers that fit; others are drawn anew."""
    spec = spec_of(layers)
    try:
        shapecalc.trace(spec)
    except shapecalc.SpecError:
        assume(False)
    return spec


@settings(max_examples=40, deadline=None)
@given(networks(), st.sampled_from([CPU, EAGER]))
def test_random_networks_learn_the_same_in_fp64(layers: list[Any], target: Target) -> None:
    agree(Pair(valid(layers), torch.float64, target), 20, 1e-9)


@settings(max_examples=30, deadline=None)
@given(networks(), st.sampled_from([CPU, EAGER]))
def test_random_networks_evaluate_the_same(layers: list[Any], target: Target) -> None:
    pair = Pair(valid(layers), torch.float64, target, training=False)
    for model, _ in pair.ways:  # statistics that are not those of the beginning
        torch.manual_seed(1)
        model.train()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.normal_()
                norm.running_var.uniform_(0.5, 2)
        model.eval()
    pair.made.eval()
    with torch.no_grad():
        plain, made = (run(pair.pixels) for _, run in pair.ways)
    torch.testing.assert_close(plain, made, rtol=1e-9, atol=1e-9)


def test_apparel_learns_the_same() -> None:
    spec = shapecalc.load("specs/apparel.yaml").with_params(classes=CLASSES)
    spec = spec.model_copy(update={"input": [3, 192, 192]})
    agree(Pair(spec, torch.float64, EAGER, batch=1), 20, 1e-9)
    pair = Pair(spec, torch.float32, CPU, batch=2)
    assert set(pair.plan.places) == {"compose", "normalize", "small_indices"}
    agree(pair, 20, 1e-4)


@pytest.mark.parametrize("name", get_args(Rewrite))
def test_each_rewrite_alone(name: Any) -> None:
    """It is made where it is asked for, and alone."""
    layers = [
        {"conv": {"out_channels": 16, "kernel_size": 3}},
        {"max_pool": 2},
        {"conv": {"out_channels": 4, "kernel_size": 1}},
        {"conv": {"out_channels": 4, "kernel_size": 1}},
        "relu",
        {"max_pool": 2},
        {"conv": {"out_channels": 6, "kernel_size": 1}},
        {"avg_pool": 2},
        {"conv": {"out_channels": 6, "kernel_size": 1}},
        "batch_norm",
    ]
    traced = shapecalc.trace(spec_of(layers))
    training = name != "batch_norm"
    made = plan(traced, training=training, batch=BATCH, names=(name,), target=EAGER)
    none = plan(traced, training=training, batch=BATCH, names=(), target=EAGER)
    if name in ("small_indices", "stem"):
        target = CPU._replace(tiles=name == "stem")
        made = plan(traced, training=True, batch=BATCH, names=(name,), target=target)
    assert set(made.places) == {name}
    assert made.said
    assert not none.places
    assert not none.said


def test_what_stays_as_it_is() -> None:
    """Layers whose output is read twice, and zeros that a bias would have changed."""
    twice = [
        {"conv": {"out_channels": 2, "kernel_size": 1}},
        {"residual": {"layers": [{"conv": {"out_channels": 2, "kernel_size": 1}}]}},
    ]
    padded = [
        {"conv": {"out_channels": 2, "kernel_size": 3, "padding": 1}},
        {"conv": {"out_channels": 2, "kernel_size": 3, "padding": 1}},
    ]
    for layers in (twice, padded):
        traced = shapecalc.trace(spec_of(layers))
        made = plan(traced, training=True, batch=BATCH, names=("compose",), target=EAGER)
        assert "layers.0" not in str(made.places.get("compose", ""))


windows = st.tuples(ints(1, 4), ints(1, 4), ints(0, 2), ints(1, 2))


@pytest.mark.skipif(library() is None, reason="no C compiler")
@settings(max_examples=120, deadline=None)
@given(windows, windows, st.tuples(ints(4, 19), ints(4, 19)), ints(1, 40), st.booleans(), st.data())
def test_the_kernel_of_max_pool_is_torchs(
    down: Any, along: Any, size: tuple[int, int], channels: int, relu: bool, data: Any
) -> None:
    """Outputs and gradients to the last bit in fp32, and in bf16 where no two windows share a
    pixel; where they do, torch rounds after each of them."""
    kernel, stride, padding, dilation = zip(down, along, strict=True)
    arguments = {
        "kernel_size": kernel,
        "stride": stride,
        "padding": tuple(min(p, k // 2) for p, k in zip(padding, kernel, strict=True)),
        "dilation": dilation,
        "ceil_mode": data.draw(st.booleans()),
    }
    layers = [{"max_pool": arguments}, *(["relu"] if relu else [])]
    try:
        traced = shapecalc.trace(shaped([channels, *size], layers))
    except shapecalc.SpecError:
        return
    made = plan(traced, training=True, batch=2, names=("small_indices",), target=CPU)
    plain = shapecalc.build(traced)
    own = rewritten(plain, made)
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    torch.manual_seed(0)
    x = torch.randn(2, channels, *size).round(decimals=1).to(dtype)
    x[0, 0, 0, 0] = float("nan") if data.draw(st.booleans()) else 0
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    ours, theirs = own(x), plain(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    gradient = torch.randn_like(theirs)
    found, expected = (torch.autograd.grad(out, x, gradient)[0] for out in (ours, theirs))
    apart = all(s >= k and d == 1 for k, s, d in zip(kernel, stride, dilation, strict=True))
    exact = apart or dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0 if exact else 0.1)
