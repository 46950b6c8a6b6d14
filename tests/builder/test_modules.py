"""The modules that torch.nn does not have, against what they stand for."""

from __future__ import annotations

import pytest
import torch
import torchvision

from shapecalc.builder.modules import DropPath, LayerScale, Permute


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_drop_path_is_stochastic_depth_by_rows(p: float) -> None:
    x = torch.rand(64, 2, 3, requires_grad=True)
    torch.manual_seed(3)
    real = torchvision.ops.stochastic_depth(x, p, "row")
    torch.manual_seed(3)
    ours = DropPath(p)(x)
    torch.testing.assert_close(ours, real)
    assert torch.isfinite(ours).all()
    (gradient,) = torch.autograd.grad(ours.sum(), x)
    assert torch.isfinite(gradient).all()
    assert DropPath(p).eval()(x) is x


def test_layer_scale_multiplies_channels() -> None:
    scale = LayerScale((3, 1, 1), 0.5)
    assert [name for name, _ in scale.named_parameters()] == ["weight"]
    with torch.no_grad():
        scale.weight[1] = 2
    x = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(scale(x), x * torch.tensor([0.5, 2, 0.5]).view(3, 1, 1))


def test_permute_can_go_on_to_a_layer_that_takes_no_view() -> None:
    x = torch.rand(2, 3, 4, 5, 6)
    turned = Permute((0, -1, 1, 3, 2))(x)
    assert torch.equal(turned, x.permute(0, 4, 1, 3, 2))
    assert torch.nn.LocalResponseNorm(2)(turned).shape == turned.shape
