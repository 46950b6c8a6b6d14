"""What a run keeps on disk: weights that are enough to predict, and the state to go on from.

Every file is written beside its place, flushed and renamed, and its folder flushed, so that a name
always stands for a whole file. Each has a checksum of all that is in it. Nothing is ever unpickled
but tensors and plain values.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from shapecalc import __version__
from shapecalc.diagnostics import Diagnostic, RunError
from shapecalc.training.durable import flush_folder
from shapecalc.training.images import Resize

STATE_VERSION = 2
_LACKS = {1: "the place within an epoch and the best weights"}
"""What the states of older versions lack to go on from."""

_TAG = b"sha256:"
_SEAL = (len(_TAG) + 2 * hashlib.sha256().digest_size).to_bytes(2, "little") + _TAG
"""What stands before the checksum of a state: the length of a zip file's comment, and its start."""


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
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.tensors.items()}
    header: dict[str, Any] = {
        "version": __version__,
        "spec": weights.spec,
        "classes": weights.classes,
        "preprocessing": weights.preprocessing._asdict(),
        "epoch": weights.epoch,
    }
    header["checksum"] = _checksum(header, tensors)
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
        if data.pop("checksum", None) not in (None, _checksum(data, tensors)):
            raise _unreadable(path, f"is damaged: {_NOT_AS_WRITTEN}")
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


def _checksum(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Of all that a file of weights tells, in whatever order its tensors lie."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def stored_epoch(path: Path) -> int | None:
    """The epoch whose weights a file of `save_weights` holds; None where it cannot be told."""
    try:
        with safe_open(path, framework="pt") as file:
            epoch = json.loads(file.metadata()["shapecalc"])["epoch"]
            return epoch if isinstance(epoch, int) else None
    except Exception:  # a header may hold anything
        return None


def before(path: Path) -> Path:
    """Where the state is kept that `path` held before."""
    return path.with_suffix(f".1{path.suffix}")


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values for going on; what was there is kept as the one before."""

    def write(to: Path) -> None:
        with open(to, "wb") as file:  # by Python, which knows why it fails
            torch.save({"version": STATE_VERSION, **state}, file)
        _seal(to)

    _replace(path, write, before(path))


class DamagedState(RunError):
    """A state is not as it was written."""


def load_state(path: Path) -> dict[str, Any]:
    """Read a file of `save_state`, onto the CPU. Raises RunError."""
    try:
        sealed = _is_sealed(path)
        if sealed is False:
            raise _unreadable(path, f"is damaged: {_NOT_AS_WRITTEN}", of=DamagedState)
        state = dict(load_tensors(path))
        version = state.pop("version")
    except RunError:
        raise
    except Exception as error:  # torch raises whatever it trips over
        raise _unreadable(path, f"cannot be read: {reason(error)}", of=DamagedState) from error
    if version != STATE_VERSION:
        lacks = f"which lacks {_LACKS[version]}, " if version in _LACKS else ""
        help = f"start a new run from its weights: --set train.init={path.parent}"
        message = f"is of version {version}, {lacks}and this is version {STATE_VERSION}"
        raise _unreadable(path, message, help)
    if sealed is None:
        raise _unreadable(path, "is damaged: its checksum is missing", of=DamagedState)
    return state


_NOT_AS_WRITTEN = "its checksum is another than when it was written"


def _seal(path: Path) -> None:
    """Write a checksum into the comment of a zip file, which stands at its end."""
    with open(path, "rb+") as file:
        end = file.seek(-2, os.SEEK_END)  # there is the length of the comment, as yet 0
        file.seek(0)
        digest = _digest(file, end)
        file.seek(end)
        file.write(_SEAL + digest)


def _is_sealed(path: Path) -> bool | None:
    """Whether a file is as `_seal` found it; None for one without a checksum."""
    with open(path, "rb") as file:
        size = len(_SEAL) + 2 * hashlib.sha256().digest_size
        end = max(0, file.seek(0, os.SEEK_END) - size)
        file.seek(end)
        seal = file.read()
        if not seal.startswith(_SEAL):
            return None
        file.seek(0)
        return seal == _SEAL + _digest(file, end)


def _digest(file: BinaryIO, length: int) -> bytes:
    """Of the first bytes of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    while length and (block := file.read(min(length, 2**20))):
        digest.update(block)
        length -= len(block)
    return digest.hexdigest().encode()


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


def _replace(path: Path, write: Callable[[Path], Any], keep: Path | None = None) -> None:
    """Write beside `path`, flush to disk, then rename; what was there goes to `keep`.

    Raises RunError.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(path):
        try:
            write(beside)
            with open(beside, "rb+") as file:
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                os.replace(path, keep)
            os.replace(beside, path)
            flush_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether it is a file that has not been given its name yet."""
    return bool(re.fullmatch(r"\..+\.\d+(\.partial)?", path.name))


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed has left half written; nobody else may be at it."""
    for path in folder.iterdir():
        if is_partial(path):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what goes wrong while `path` is written, as on a full disk, into a RunError."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors: their own
        message = f"{path} cannot be written: {reason(error)}"
        help = "what was saved before is whole; make room, then go on with --resume"
        raise RunError([Diagnostic("E503", message, help=help)]) from error


def _unreadable(path: Path, reason: str, help: str = "", of: type[RunError] = RunError) -> RunError:
    return of([Diagnostic("E502", f"{path} {reason}", help=help)])


def reason(error: BaseException) -> str:
    """Why a file cannot be read or written, in one line."""
    if not isinstance(error, OSError) and isinstance(error.__context__, OSError):
        return reason(error.__context__)  # torch tells what came of it
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something other than tensors and plain values"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
