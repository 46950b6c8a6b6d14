"""The weights that training starts from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from shapecalc.diagnostics import Fault
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
    reporter.note(_adopt(model, _read(Path(setting)), setting))


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


def _adopt(model: nn.Module, given: Mapping[str, Tensor], name: str) -> str:
    """Copy tensors by name, or where the names are others by order, if their shapes are the same;
    a head of another shape is left as it is."""
    own = model.state_dict()
    if set(own) <= set(given):
        given = {name: given[name] for name in own}
    pairs = list(zip(own.items(), given.items(), strict=False))
    fitting = [(ours, theirs) for ours, theirs in pairs if ours[1].shape == theirs[1].shape]
    left = [key for (key, tensor), (_, other) in pairs if tensor.shape != other.shape]
    left += list(own)[len(pairs) :]
    head = list(own)[-2:]
    if not fitting or not set(left) <= set(head):
        first = left[0] if left else "nothing"
        raise Fault(
            "E501",
            f"init: the weights of {name} do not fit: {len(fitting)} of {len(own)} tensors do, "
            f"the first that does not is {first}",
            argument="init",
            help="they must come from a network of the same layers, but for its last one",
        )
    with torch.no_grad():
        for (key, _), (_, tensor) in fitting:
            own[key].copy_(tensor)
    kept = f"; {', '.join(left)} start anew" if left else ""
    return f"{len(fitting)} of {len(own)} tensors come from {name}{kept}"
