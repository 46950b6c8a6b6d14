"""The first convolution and its pool in one pass: what it takes, and that it computes the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import shapecalc
from shapecalc.analysis.rewrites import plan
from shapecalc.analysis.rewrites.draft import Target
from shapecalc.builder.native import has_tiles
from shapecalc.builder.rewrites import rewritten

TILES = Target(kernels=True, tiles=True)
ints = st.integers


def traced(shape: list[int], layers: list[Any]) -> Any:
    return shapecalc.trace(shapecalc.loads(json.dumps({"input": shape, "layers": layers})))


def stem(
    conv: dict[str, Any], pool: Any = 2, *, shape: tuple[int, ...] = (3, 20, 20), relu: bool = True
) -> Any:
    layers = [{"conv": {"out_channels": 16, "kernel_size": 3, **conv}}, {"max_pool": pool}]
    return traced([*shape], [*layers, *(["relu"] if relu else [])])


def does(trace: Any, target: Target = TILES) -> list[str]:
    made = plan(trace, training=True, batch=2, target=target)
    return [step.does for step in made.flow.steps]


def test_one_step_for_all() -> None:
    assert does(stem({})) == ["stem"]
    assert does(stem({}), TILES._replace(tiles=False)) == ["map", "pool"]
    made = plan(stem({}), training=True, batch=2, target=TILES)
    assert "convolves and pools in one pass at layers.0" in made.said


@pytest.mark.parametrize(
    "conv",
    [
        {"out_channels": 24},
        {"stride": 2},
        {"dilation": 2},
        {"kernel_size": 18, "padding": 9},
        {"padding": 1, "padding_mode": "reflect"},
        {"kernel_size": 4, "padding": "same"},
    ],
    ids=str,
)
def test_other_convolutions_are_left(conv: dict[str, Any]) -> None:
    assert "stem" not in does(stem(conv))


@pytest.mark.parametrize(
    "pool",
    [
        3,
        {"kernel_size": 2, "stride": 1},
        {"kernel_size": 2, "padding": 1},
        {"kernel_size": 4, "ceil_mode": True},
        {"kernel_size": [1, 34], "stride": [1, 34]},
    ],
    ids=str,
)
def test_other_pools_are_left(pool: Any) -> None:
    assert "stem" not in does(stem({}, pool, shape=(3, 21, 40)))


def test_only_the_first_and_of_few_channels() -> None:
    assert "stem" not in does(stem({}, shape=(5, 20, 20)))
    block = [{"conv": {"out_channels": 16, "kernel_size": 3}}, {"max_pool": 2}]
    assert does(traced([3, 30, 30], [*block, *block])).count("stem") == 1


@st.composite
def stems(draw: st.DrawFn) -> tuple[Any, int]:
    """A stem of any kind that is taken, and the channels of its input."""
    kernel, padding = (
        draw(st.tuples(ints(1, 8), ints(1, 16))),
        draw(st.tuples(ints(0, 3), ints(0, 3))),
    )
    conv = {
        "out_channels": 16 * draw(ints(1, 3)),
        "kernel_size": list(kernel),
        "padding": list(padding),
        "bias": draw(st.booleans()),
    }
    window = [draw(ints(1, 5)), draw(st.sampled_from([2, 2, 4, 6]))]
    window = draw(st.sampled_from([window, [2, 2]]))
    channels = draw(ints(1, 4))
    shape = (channels, draw(ints(8, 45)), draw(ints(16, 90)))
    try:
        return stem(conv, window, shape=shape, relu=draw(st.booleans())), channels
    except shapecalc.SpecError:
        assume(False)
        raise


@settings(max_examples=25, deadline=None)
@given(stems(), st.booleans())
def test_without_the_kernel_torch_does_it(drawn: tuple[Any, int], normalizes: bool) -> None:
    trace, channels = drawn
    names = ("stem", "normalize") if normalizes else ("stem",)
    made = plan(trace, training=True, batch=2, names=names, target=TILES)
    assert "stem" in made.places
    plain = shapecalc.build(trace).double()
    factors = torch.rand(channels).double(), torch.rand(channels).double()
    own = rewritten(plain, made, factors)
    x = torch.randint(0, 256, (2, *trace.input_shape))
    normal = x.double()
    if made.normalizes:
        normal = normal * factors[0].view(-1, 1, 1) + factors[1].view(-1, 1, 1)
    torch.testing.assert_close(own(x), plain(normal), rtol=1e-9, atol=1e-9)


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """By the largest number there is: sums of products cancel."""
    assert found.shape == expected.shape
    scale = expected.abs().max().item() or 1
    assert (found.double() - expected).abs().max().item() <= tolerance * scale


@pytest.mark.skipif(not has_tiles(), reason="no AMX")
@settings(max_examples=150, deadline=None)
@given(stems(), st.booleans(), ints(1, 3), ints(0, 2**31))
def test_the_kernel_is_torchs(drawn: tuple[Any, int], held: bool, images: int, seed: int) -> None:
    """Of bytes and of numbers in bf16: outputs to the rounding of bf16, gradients to that of fp32
    sums, against torch in fp64 with the same weights."""
    trace, _ = drawn
    made = plan(trace, training=True, batch=2, names=("stem",), target=TILES)
    torch.manual_seed(seed)
    model = shapecalc.build(trace)
    conv: Any = model.get_submodule("layers.0")
    with torch.no_grad():
        conv.weight.copy_(conv.weight.bfloat16())
    shape = (images, *trace.input_shape)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8) if held else torch.randn(shape)
    pixels = pixels if held else pixels.bfloat16()
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    own = rewritten(model, made)
    with torch.autocast("cpu", torch.bfloat16):
        out = own(pixels)
    assert out.dtype == torch.bfloat16
    weight = conv.weight.detach().double().requires_grad_()
    bias = None if conv.bias is None else conv.bias.detach().double().requires_grad_()
    wide = F.conv2d(pixels.double(), weight, bias, padding=conv.padding)
    (pool,) = (row for row in trace.rows if row.kind == "max_pool")
    expected = F.max_pool2d(wide, pool.arguments["kernel_size"])
    expected = expected.relu() if trace.rows[-1].kind == "relu" else expected
    close(out, expected, 2**-8)
    gradient = torch.randn_like(out, dtype=torch.float32).bfloat16()
    out.backward(gradient)
    learned = [weight] if bias is None else [weight, bias]
    for parameter, right in zip(
        model.parameters(), torch.autograd.grad(expected, learned, gradient.double()), strict=True
    ):
        assert parameter.grad is not None
        close(parameter.grad, right, 1e-4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(own(pixels), out)


@pytest.mark.skipif(not has_tiles(), reason="no AMX")
def test_pixels_may_need_a_gradient() -> None:
    """As saliency does: the kernel gives none, so torch takes over."""
    trace = stem({})
    own = rewritten(shapecalc.build(trace), plan(trace, training=True, batch=1, target=TILES))
    x = torch.randn(1, 3, 20, 20, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        own(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.skipif(not has_tiles(), reason="no AMX")
def test_a_number_that_is_none_is_told() -> None:
    trace = stem({})
    own = rewritten(shapecalc.build(trace), plan(trace, training=True, batch=1, target=TILES))
    x = torch.zeros(1, 3, 20, 20)
    x[0, 1, 9, 9] = float("nan")
    with torch.autocast("cpu", torch.bfloat16):
        assert own(x).isnan().any()


@pytest.mark.skipif(not has_tiles(), reason="no AMX")
def test_the_same_bits_again() -> None:
    trace = stem({}, shape=(3, 70, 70))
    model = shapecalc.build(trace)
    own = rewritten(model, plan(trace, training=True, batch=3, target=TILES))
    x = torch.randn(3, 3, 70, 70)
    found = []
    for _ in range(3):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = own(x)
        out.float().square().sum().backward()
        found.append([out, *(p.grad for p in model.parameters())])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))
