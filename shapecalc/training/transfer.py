"""Training that goes on from what another network has learned.

Where `init:` names weights, settings that the spec leaves open are those that suit them: pictures
come in as the weights have seen them, the head is trained alone at first, and then all, the earlier
layers at smaller rates, for what they look for is much the same in all pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from shapecalc.diagnostics import Fault, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.spec import Spec
from shapecalc.tracer import Trace
from shapecalc.training import optim
from shapecalc.training.reporter import Reporter
from shapecalc.training.start import published, weights_of_run

_QUARTERS = 4
_OWN_INPUT = {"GoogLeNet_Weights", "Inception_V3_Weights"}
"""Weights of networks which in torchvision bring pictures, normalised as for others, to -1 to 1."""


def completed(spec: Spec, reporter: Reporter) -> Spec:
    """A spec with the settings that suit the weights it starts from, where it leaves them open.

    Raises SpecError.
    """
    recipe = spec.recipe()
    init = recipe.init
    if not isinstance(init, str) or optim.is_initialization(init):
        return spec
    try:
        suited = _preprocessing(init)
    except Fault as fault:
        raise SpecError([locate(fault, spec.source, ("train",))]) from None
    suited |= {"schedule": "one_cycle", "freeze": int(recipe.epochs > 1), "lr_decay": 0.5}
    added = {key: value for key, value in suited.items() if key not in spec.train}
    if not added:
        return spec
    told = ", ".join(f"{key}: {_shown(value)}" for key, value in added.items())
    reporter.note(f"as suits weights that have learned: {told}")
    return spec.model_copy(update={"train": {**spec.train, **added}})


def _preprocessing(init: str) -> dict[str, Any]:
    """How pictures come to the weights, where that can be told. Raises Fault."""
    prefix, colon, name = init.partition(":")
    if colon and prefix == "torchvision":
        weights = published(name)
        if type(weights).__name__ in _OWN_INPUT:
            return {"resize": "crop", "normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}}
        seen = weights.transforms()
        return {"resize": "crop", "normalize": {"mean": [*seen.mean], "std": [*seen.std]}}
    run = weights_of_run(Path(init))
    if run is None:  # weights of others, or none: `start` tells
        return {}
    resize, mean, std = run.preprocessing
    normalize = None if mean is None or std is None else {"mean": [*mean], "std": [*std]}
    return {"resize": resize, "normalize": normalize}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {', '.join(f'{v:g}' for v in of)}" for key, of in value.items())
    return "null" if value is None else str(value)


def groups(model: nn.Module, trace: Trace, lr_decay: float) -> list[list[nn.Parameter]]:
    """The parameters by the factor of their rate: the head, and before it the layers in quarters,
    the last first; all in one where there is no factor."""
    if lr_decay == 1:
        return [list(model.parameters())]
    *body, head = _layers(model, trace)
    bounds = [len(body) * quarter // _QUARTERS for quarter in range(_QUARTERS + 1)]
    parts = [[head], *(body[a:b] for a, b in reversed([*pairwise(bounds)]))]
    found = [[p for layer in part for p in layer.parameters()] for part in parts]
    return [part for part in found if part]


def hold(model: nn.Module, trace: Trace, held: bool) -> None:
    """Keep all but the head as it is, statistics included, or let it be trained again."""
    *body, _ = _layers(model, trace)
    for layer in body:
        layer.requires_grad_(not held)
    if held:
        for module in model.modules():
            if isinstance(module, _NormBase):
                module.eval()


def _layers(model: nn.Module, trace: Trace) -> list[nn.Module]:
    """The layers with parameters, in order of execution; the last one is the head."""
    rows = (row for row in trace.rows if row.params and not row.is_container)
    return [model.get_submodule(row.path) for row in rows]
