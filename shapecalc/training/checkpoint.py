"""What a run keeps on disk: weights that are enough to predict, and the state to go on from.

Every file is written beside its place, flushed and renamed, so that a name always stands for a
whole file. Nothing is ever unpickled but tensors and plain values.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from shapecalc import __version__
from shapecalc.diagnostics import Diagnostic, RunError
from shapecalc.training.images import Resize

STATE_VERSION = 1


class Preprocessing(NamedTuple):
    """How a picture becomes an input: its resizing, and the statistics it is normalised with."""

    resize: Resize
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


class Weights(NamedTuple):
    """A network's tensors, with all that is needed to build it and to predict."""

    tensors: dict[str, Tensor]
    spec: str
    """The resolved spec as YAML."""
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    epoch: int


def save_weights(path: Path, weights: Weights) -> None:
    """Write a `.safetensors` file; what is not a tensor goes into its header as JSON."""
    header = {
        "version": __version__,
        "spec": weights.spec,
        "classes": weights.classes,
        "preprocessing": weights.preprocessing._asdict(),
        "epoch": weights.epoch,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.tensors.items()}
    metadata = {"shapecalc": json.dumps(header)}  # one key: several are written in any order
    _replace(path, lambda to: to.write_bytes(save(tensors, metadata)))


def load_weights(path: Path) -> Weights:
    """Read a file of `save_weights`. Raises RunError."""
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("shapecalc")
            if header is None:
                raise _unreadable(
                    path,
                    "holds weights, but not the spec, classes and preprocessing of a run",
                    "use the best.safetensors of a run",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        data = json.loads(header)
        pre = data["preprocessing"]
        mean, std = (None if pre[k] is None else tuple(pre[k]) for k in ("mean", "std"))
        return Weights(
            tensors,
            "" + data["spec"],
            tuple("" + name for name in data["classes"]),
            Preprocessing(pre["resize"], mean, std),
            data["epoch"],
        )
    except RunError:
        raise
    except Exception as error:  # a header may hold anything
        raise _unreadable(path, f"cannot be read: {reason(error)}") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values for going on."""
    _replace(path, lambda to: torch.save({"version": STATE_VERSION, **state}, to))


def load_state(path: Path) -> dict[str, Any]:
    """Read a file of `save_state`, onto the CPU. Raises RunError."""
    try:
        state = dict(load_tensors(path))
        version = state.pop("version")
    except Exception as error:  # torch raises whatever it trips over
        raise _unreadable(path, f"cannot be read: {reason(error)}") from error
    if version != STATE_VERSION:
        raise _unreadable(path, f"is of version {version}, and this is version {STATE_VERSION}")
    return state


def load_tensors(path: Path) -> Any:
    """What torch saved of tensors and plain values, onto the CPU; nothing else is unpickled.

    Raises what torch does, such as UnpicklingError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles that torch itself would not have written
        return torch.load(path, map_location="cpu", weights_only=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    _replace(path, lambda to: to.write_text(text, encoding="utf-8"))


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside `path`, flush to disk, then rename. Raises RunError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            write(beside)
            with open(beside, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong while `path` is written, as on a full disk, into a RunError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors: their own
        message = f"{path} cannot be written: {reason(error)}"
        help = "what was saved before is whole; make room, then go on with --resume"
        raise RunError([Diagnostic("E503", message, help=help)]) from error


def _unreadable(path: Path, reason: str, help: str = "") -> RunError:
    return RunError([Diagnostic("E502", f"{path} {reason}", help=help)])


def reason(error: Exception) -> str:
    """Why a file cannot be read or written, in one line."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something other than tensors and plain values"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
