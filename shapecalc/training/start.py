"""The weights that training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shapecalc.diagnostics import Fault, nearest
from shapecalc.language.recipe import Named, named
from shapecalc.training import optim
from shapecalc.training.checkpoint import load_tensors
from shapecalc.training.reporter import Reporter


def start_weights(model: nn.Module, setting: Named | None, reporter: Reporter) -> None:
    """Give a new network the weights that `init:` asks for; without it, it keeps torch's own.

    Raises Fault.
    """
    if setting is None:
        return
    if optim.is_initialization(setting):
        optim.initialize(model, setting)
        return
    if not isinstance(setting, str):
        name, _ = named(setting)
        raise optim.unknown("init", name, optim.INITS)
    prefix, colon, weights = setting.partition(":")
    given = _published(weights) if colon and prefix == "torchvision" else _read(Path(setting))
    reporter.note(adopt(model, given, setting))


def _read(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a run, a `.safetensors` file or a state dict saved by torch."""
    if path.is_dir():
        path = path / "best.safetensors"
    try:
        if path.suffix == ".safetensors":
            loaded = load_file(path)
            return {name: loaded[name] for name in sorted(loaded, key=_position)}
        state = load_tensors(path)
        state = state.get("state_dict", state.get("model", state))
        return {name: value for name, value in state.items() if isinstance(value, Tensor)}
    except FileNotFoundError:
        fault = optim.unknown("init", str(path), optim.INITS)
        fault.message = f"init: {path} does not exist, nor is it a way to draw weights"
        raise fault from None
    except Exception as e:  # torch raises whatever it trips over
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        message = f"init: {path} holds no weights: {reason}"
        raise Fault("E501", message, argument="init") from e


_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _position(name: str) -> tuple[list[tuple[int, str]], int]:
    """For sorting: a `.safetensors` file keeps its tensors by name, `layers.10` before `layers.2`
    and bias before weight, and not in the order of the layers."""
    *above, leaf = name.split(".")
    steps = [(int(step), "") if step.isdecimal() else (-1, step) for step in above]
    return steps, _LEAVES.index(leaf) if leaf in _LEAVES else len(_LEAVES)


def _published(name: str) -> Mapping[str, Tensor]:
    """Weights that torchvision knows by name, downloaded where they are not here yet: those of
    `ResNet50_Weights.IMAGENET1K_V2`, or the best of `resnet50`. Raises Fault."""
    from torchvision import models

    try:
        if name in models.list_models():
            weights = models.get_model_weights(name).DEFAULT
        else:
            weights = models.get_weight(name)
    except (ValueError, AttributeError, KeyError):
        networks = models.list_models(module=models)
        known = [*networks, *(str(w) for n in networks for w in models.get_model_weights(n))]
        close = nearest(name, known)
        raise Fault(
            "E501",
            f"init: torchvision has no weights called {name}",
            argument="init",
            help=f"did you mean torchvision:{close}?" if close else "such as torchvision:resnet50",
        ) from None
    try:
        state: Mapping[str, Tensor] = weights.get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network, or a file that is not what it should be
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise Fault(
            "E501",
            f"init: {weights} cannot be had from {weights.url}: {error}",
            argument="init",
            help=f"put the file into {folder}, or write init: FILE",
        ) from error
    return state


def adopt(model: nn.Module, given: Mapping[str, Tensor], name: str) -> str:
    """Copy tensors by name, or where the names are others by order, if their shapes are the same;
    a head of another shape is left as it is. A sentence on what was copied. Raises Fault."""
    own = _in_order(model)
    if set(own) <= set(given):
        theirs: Mapping[str, Tensor] = {key: given[key] for key in own}
    else:
        theirs = _as_run(given)
        if len(own) != len(theirs):  # older files lack the number of batches that a norm has seen
            own, theirs = _without_batches(own), _without_batches(theirs)
    pairs = list(zip(own.items(), theirs.items(), strict=False))
    fitting = [(ours, other) for ours, other in pairs if ours[1].shape == other[1].shape]
    left = [key for (key, tensor), (_, other) in pairs if tensor.shape != other.shape]
    left += list(own)[len(pairs) :]
    if not fitting or len(own) != len(theirs) or not set(left) <= set(_head(own)):
        raise _unfit(own, theirs, len(fitting), name)
    with torch.no_grad():
        for (_, tensor), (_, other) in fitting:
            tensor.copy_(other)
    kept = f"; {', '.join(left)} start anew" if left else ""
    return f"{len(fitting)} of {len(own)} tensors come from {name}{kept}"


def _in_order(model: nn.Module) -> Mapping[str, Tensor]:
    """The state in the order in which the layers run: named ones may stand between others."""
    state = model.state_dict()
    steps = list(getattr(model, "steps", ()))

    def step(key: str) -> int:
        return next((n for n, path in enumerate(steps) if key.startswith(f"{path}.")), len(steps))

    return {key: state[key] for key in sorted(state, key=step)}


def _without_batches(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}


def _as_run(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's tensors in the order in which its networks run them.

    Auxiliary heads only serve their training. A ConvNeXt block scales its output last, but has the
    scale first.
    """
    keys = [key for key in state if not key.lower().startswith("aux")]
    for scale in [key for key in keys if key.endswith(".layer_scale")]:
        block = scale.removesuffix("layer_scale")
        last = max(index for index, key in enumerate(keys) if key.startswith(block))
        keys.insert(last, keys.pop(keys.index(scale)))
    return {key: state[key] for key in keys}


def _head(state: Mapping[str, Tensor]) -> list[str]:
    """The names of the last layer's tensors."""
    last = list(state)[-1].rpartition(".")[0]
    return [key for key in state if key.rpartition(".")[0] == last]


def _unfit(
    own: Mapping[str, Tensor], theirs: Mapping[str, Tensor], fitting: int, name: str
) -> Fault:
    """Where two networks part."""
    pairs = zip(own.items(), theirs.items(), strict=False)
    parted = ((o, t) for o, t in pairs if o[1].shape != t[1].shape)
    first = next(parted, None)
    if first:
        (ours, tensor), (other, theirs_at) = first
        here, there = list(tensor.shape), list(theirs_at.shape)
        where = f"the first that does not is {ours}: it is {here}, and their {other} is {there}"
    else:
        where = f"the network has {len(own)} tensors, the weights {len(theirs)}"
    return Fault(
        "E501",
        f"init: the weights of {name} do not fit: {fitting} of {len(own)} tensors do; {where}",
        argument="init",
        help="they must come from a network of the same layers, but for its last one",
    )
