"""The weights that training starts from."""

from __future__ import annotations

import contextlib
import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shapecalc.builder import build
from shapecalc.diagnostics import Fault, RunError, nearest
from shapecalc.language.recipe import Named, named
from shapecalc.language.spec import loads
from shapecalc.training import optim
from shapecalc.training.checkpoint import Weights, load_tensors, load_weights, reason
from shapecalc.training.reporter import Reporter

State = Mapping[str, Tensor]
"""Tensors by name, in the order in which the layers that hold them run."""


def start_weights(
    model: nn.Module, setting: Named | None, reporter: Reporter, classes: Sequence[str] = ()
) -> None:
    """Give a new network the weights that `init:` asks for; without it, it keeps torch's own.

    The head of a run that has told other `classes` apart starts anew. Raises Fault.
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
    told: Sequence[str] = ()
    if colon and prefix == "torchvision":
        given = _published(weights, reporter)
    else:
        given, run = _read(Path(setting), model), weights_of_run(Path(setting))
        told = run.classes if run else ()
    others = bool(classes and told) and list(classes) != list(told)
    reporter.note(adopt(model, given, setting, others))


def weights_of_run(path: Path) -> Weights | None:
    """What the best weights of a run, or one of its files, tell; None where it is no run's."""
    try:
        return load_weights(_file(path))
    except RunError:
        return None


def _file(path: Path) -> Path:
    return path / "best.safetensors" if path.is_dir() else path


def _read(path: Path, model: nn.Module) -> State:
    """The tensors of a run, a `.safetensors` file or a state dict saved by torch."""
    path = _file(path)
    try:
        if path.suffix == ".safetensors":
            return _stored(path, model)
        state = load_tensors(path)
        return _tensors(state.get("state_dict", state.get("model", state)))
    except Fault:
        raise
    except FileNotFoundError:
        fault = optim.unknown("init", str(path), optim.INITS)
        fault.message = f"init: {path} does not exist, nor is it a way to draw weights"
        raise fault from None
    except Exception as e:  # torch raises whatever it trips over
        raise Fault("E501", f"init: {path} holds no weights: {reason(e)}", argument="init") from e


def _tensors(state: Mapping[str, Any]) -> State:
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _stored(path: Path, model: nn.Module) -> State:
    """The tensors of a `.safetensors` file, which keeps them by name. Their order is that of the
    network they are for, or of the run they come from, or of their numbers. Raises Fault."""
    with safe_open(path, framework="pt") as file:
        header = (file.metadata() or {}).get("shapecalc")
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if set(model.state_dict()) <= set(state):
        return state
    if header is not None:
        with torch.device("meta"):
            order = _in_order(build(loads(json.loads(header)["spec"])))
        return {name: state[name] for name in order}
    if not _is_numbered(state):
        raise Fault(
            "E501",
            f"init: {path} keeps its tensors by name and not in the order of the layers, and its "
            "names are not those of this network",
            argument="init",
            help="save them by torch.save, which keeps the order",
        )
    return {name: state[name] for name in sorted(state, key=_position)}


_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""A layer's tensors as torch orders them now; older versions did otherwise."""


def _leaf(name: str) -> int:
    leaf = name.rpartition(".")[2]
    return _LEAVES.index(leaf) if leaf in _LEAVES else len(_LEAVES)


def _is_numbered(state: Iterable[str]) -> bool:
    """Whether modules are told apart by numbers alone, as those of an nn.Sequential."""
    beside: dict[str, set[str]] = {}
    for name in state:
        above = ""
        for step in name.split(".")[:-1]:
            beside.setdefault(above, set()).add(step)
            above = f"{above}.{step}"
    return all(len(s) == 1 or all(map(str.isdecimal, s)) for s in beside.values())


def _position(name: str) -> tuple[list[int], int]:
    """For sorting: `layers.2` comes before `layers.10`, and a weight before its bias."""
    steps = name.split(".")[:-1]
    return [int(step) if step.isdecimal() else 0 for step in steps], _leaf(name)


def _published(name: str, reporter: Reporter) -> State:
    """Weights that torchvision knows by name, downloaded where they are not here yet: those of
    `ResNet50_Weights.IMAGENET1K_V2`, or the best of `resnet50`. Raises Fault."""
    weights = published(name)
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if not file.exists():
        reporter.note(f"downloading {weights.url}")
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as for other files; and torch says that it downloads
            state = weights.get_state_dict(
                map_location="cpu", check_hash=True, weights_only=True, progress=False
            )
        return _in_torchvisions_order(weights, _tensors(state))
    except Exception as error:  # no network, or a file that is not what it should be
        if file.exists():
            message = f"init: {file}, which should hold {weights}, cannot be read: {reason(error)}"
            help = "delete it: it is then downloaded anew"
        else:
            message = f"init: {weights} cannot be had from {weights.url}: {reason(error)}"
            help = f"put the file into {file.parent}, or write init: FILE"
        raise Fault("E501", message, argument="init", help=help) from error


def published(name: str) -> Any:
    """The entry of a weights enum of torchvision. Raises Fault."""
    from torchvision import models

    try:
        if name in models.list_models():
            return models.get_model_weights(name).DEFAULT
        return models.get_weight(name)
    except (ValueError, AttributeError, KeyError, TypeError):  # TypeError: resnet50.IMAGENET1K_V1
        networks = models.list_models(module=models)
        known = [*networks, *(str(w) for n in networks for w in models.get_model_weights(n))]
        close = nearest(name, known)
        raise Fault(
            "E501",
            f"init: torchvision has no weights called {name!r}",
            argument="init",
            help=f"did you mean torchvision:{close}?" if close else "such as torchvision:resnet50",
        ) from None


def _in_torchvisions_order(weights: Any, state: State) -> State:
    """A file has the order, and that of a DenseNet the names, of the version that wrote it."""
    from torchvision import models

    networks = models.list_models(module=models)
    name = next((n for n in networks if models.get_model_weights(n) is type(weights)), None)
    if name is None:
        return state
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with _OnMeta():
        network = models.get_model(name, weights=None, **settings)
    state = {re.sub(r"\.(norm|conv)\.(\d)\.", r".\1\2.", key): t for key, t in state.items()}
    order = [key for key in network.state_dict() if key in state]
    return {key: state[key] for key in [*order, *(key for key in state if key not in set(order))]}


class _OnMeta(TorchFunctionMode):
    """Makes parameters and buffers without memory. Other tensors stay real: a RegNet computes its
    widths with some, for which `torch.device("meta")` does not do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = {"device": "meta"} if func in (torch.empty, torch.ones, torch.zeros) else {}
        return func(*args, **{**(kwargs or {}), **made})


def adopt(model: nn.Module, given: State, name: str, others: bool = False) -> str:
    """Copy tensors by name, or where the names are others by order, if their shapes are the same;
    a head of another shape, or for `others`, is left as it is. A sentence on what was copied.
    Raises Fault."""
    own = _in_order(model)
    if set(own) <= set(given):
        theirs: State = {key: given[key] for key in own}
    else:
        theirs = _as_run(given)
        if len(_without_batches(own)) != len(_without_batches(theirs)):
            theirs = _without_auxiliary(theirs)
        if len(own) != len(theirs):  # older files lack the number of batches that a norm has seen
            own, theirs = _without_batches(own), _without_batches(theirs)
    pairs = list(zip(own.items(), theirs.items(), strict=False))
    fitting = [(ours, other) for ours, other in pairs if _fits(ours, other)]
    left = [ours[0] for ours, other in pairs if not _fits(ours, other)]
    if others and not left:
        left = _head(own)
        fitting = [(ours, other) for ours, other in fitting if ours[0] not in left]
    if not fitting or len(own) != len(theirs) or not set(left) <= set(_head(own)):
        raise _unfit(own, theirs, len(fitting), name)
    with torch.no_grad():
        for (_, tensor), (_, other) in fitting:
            tensor.copy_(other)
    kept = f"; {', '.join(left)} start anew" if left else ""
    return f"{len(fitting)} of {len(own)} tensors come from {name}{kept}"


def _fits(ours: tuple[str, Tensor], other: tuple[str, Tensor]) -> bool:
    """The same shape, and not what torch calls something else, as a weight and a mean."""
    leaves = {_leaf(ours[0]), _leaf(other[0])}
    return ours[1].shape == other[1].shape and (len(leaves) == 1 or len(_LEAVES) in leaves)


def _in_order(model: nn.Module) -> State:
    """The state in the order in which the layers run: named ones may stand between others."""
    state = model.state_dict()
    steps = list(getattr(model, "steps", ()))

    def step(key: str) -> int:
        return next((n for n, path in enumerate(steps) if key.startswith(f"{path}.")), len(steps))

    return {key: state[key] for key in sorted(state, key=step)}


def _without_batches(state: State) -> State:
    return {key: t for key, t in state.items() if not key.endswith("num_batches_tracked")}


def _without_auxiliary(state: State) -> State:
    """Without the heads of GoogLeNet and Inception that only serve their training."""
    return {key: t for key, t in state.items() if not key.lower().startswith("aux")}


def _as_run(state: State) -> State:
    """Tensors written in another order than that in which the layers run: a ConvNeXt block of
    torchvision scales its output last, but has the scale first; and older versions of torch had
    the statistics of a norm before its weight."""
    keys = list(state)
    for scale in [key for key in keys if key.endswith(".layer_scale")]:
        block = scale.removesuffix("layer_scale")
        last = max(index for index, key in enumerate(keys) if key.startswith(block))
        keys.insert(last, keys.pop(keys.index(scale)))
    layers = groupby(keys, lambda key: key.rpartition(".")[0])
    return {key: state[key] for _, layer in layers for key in sorted(layer, key=_leaf)}


def _head(state: State) -> list[str]:
    """The names of the last layer's tensors."""
    last = list(state)[-1].rpartition(".")[0]
    return [key for key in state if key.rpartition(".")[0] == last]


def _unfit(own: State, theirs: State, fitting: int, name: str) -> Fault:
    """Where two networks part."""
    pairs = zip(own.items(), theirs.items(), strict=False)
    parted = ((o, t) for o, t in pairs if not _fits(o, t))
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
