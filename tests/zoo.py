"""Every convolutional classifier of torchvision beside its spec in specs/zoo."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from shapecalc import Spec, Trace, build, load, trace
from shapecalc.language.source import Source
from shapecalc.training.start import adopt

ZOO = Path(__file__).parent.parent / "specs" / "zoo"
OTHERS = ("vit", "swin", "maxvit")
"""Of torchvision's classifiers those that are not convolutional."""


class Comparison(NamedTuple):
    """A network as we have it and as torchvision does."""

    name: str
    spec: str
    input: tuple[int, ...]
    params: tuple[int, int]
    macs: tuple[int, int]
    difference: float
    """The largest between two outputs for the same input and weights."""
    scale: float
    """The largest output."""

    @property
    def agrees(self) -> bool:
        same = self.params[0] == self.params[1] and self.macs[0] == self.macs[1]
        return same and self.difference <= 1e-5


def networks() -> list[str]:
    """torchvision's names of its convolutional classifiers."""
    names = torchvision.models.list_models(module=torchvision.models)
    return [name for name in names if not name.startswith(OTHERS)]


def specs() -> dict[str, str]:
    """Where each network is: `specs/zoo/alexnet.yaml`, or `specs/zoo/resnet.yaml@resnet50`."""
    found = {}
    for path in sorted(ZOO.glob("*.yaml")):
        variants = Source.read(path).data.get("variants") or {path.stem: None}
        for name in variants:
            found[name] = f"{path}@{name}" if name != path.stem else str(path)
    return found


def theirs(name: str, device: str = "cpu") -> nn.Module:
    """torchvision's network without its auxiliary heads, in eval mode."""
    auxiliary = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with _OnMeta() if device == "meta" else nullcontext():
        model: nn.Module = torchvision.models.get_model(name, weights=None, **auxiliary).eval()
    if auxiliary:
        for head in ("aux1", "aux2", "AuxLogits"):
            if hasattr(model, head):
                setattr(model, head, None)
        model.aux_logits = False  # type: ignore[assignment]
    return model


class _OnMeta(TorchFunctionMode):
    """Makes parameters and buffers without memory. Other tensors stay real: a RegNet computes its
    widths with some, for which `torch.device("meta")` does not do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = {"device": "meta"} if func in (torch.empty, torch.ones, torch.zeros) else {}
        return func(*args, **{**(kwargs or {}), **made})


def counted(name: str) -> tuple[Trace, int, int]:
    """Our Trace, and torchvision's params and MACs; nothing is computed."""
    traced = trace(load(specs()[name]))
    model = theirs(name, "meta")
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *traced.input_shape, device="meta"))
    params = sum(parameter.numel() for parameter in model.parameters())
    return traced, params, counter.get_total_flops() // 2


def compare(name: str, size: int | None = None) -> Comparison:
    """Count both, give ours the weights of theirs, and run both; at another size where given."""
    traced, params, macs = counted(name)
    spec: Spec = traced.spec
    if size is not None:
        spec = spec.with_input((3, size, size))
    torch.manual_seed(0)
    model, ours = theirs(name), build(spec).eval()
    randomize(model)
    adopt(ours, model.state_dict(), name)
    x = torch.randn(1, *spec.input_shape())
    with torch.no_grad():
        expected, out = model(x), ours(x)
    file = Path(specs()[name])
    return Comparison(
        name,
        str(file.relative_to(ZOO.parent.parent)),
        traced.input_shape,
        (traced.params, params),
        (traced.macs, macs),
        float((out - expected).abs().max()),
        float(expected.abs().max()),
    )


def randomize(model: nn.Module) -> None:
    """Weights and statistics that all matter to the output, which stays about 1 in size."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "layer_scale" not in name:
                nn.init.kaiming_normal_(parameter, mode="fan_in", nonlinearity="linear")
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
            else:
                parameter.uniform_(0.5, 1)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)
        last = [module for module in model.modules() if hasattr(module, "weight")][-1]
        last.weight.div_(10)  # type: ignore[operator, union-attr]
