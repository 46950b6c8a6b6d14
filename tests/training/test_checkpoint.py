"""Files that are whole or not there, and what is said of those that are neither."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import resource
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from training_fixtures import Learned, photographs, refusal, spec

import shapecalc
from shapecalc.diagnostics import RunError
from shapecalc.report import plots
from shapecalc.training import checkpoint
from shapecalc.training.checkpoint import Preprocessing, Weights, load_state, load_weights
from shapecalc.training.run import load_run

WEIGHTS = Weights(
    {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(3), "half": torch.ones(2).half()},
    "input: [3, 8, 8]\nlayers: [flatten]\n",
    ("Mütze", "a: 'b'", "\U0001f9e2"),
    Preprocessing("crop", (0.1, 0.2, 0.3), (1.0, 1.0, 0.5)),
    7,
)
STATE = {"model": {"w": torch.ones(1000)}, "metrics": [{"epoch": 1}], "name": "x"}


def save_weights(path: Path) -> None:
    checkpoint.save_weights(path, WEIGHTS)


def save_state(path: Path) -> None:
    checkpoint.save_state(path, STATE)


def save_text(path: Path) -> None:
    checkpoint.write_text(path, "x" * 5000)


SAVES = pytest.mark.parametrize("save", [save_weights, save_state, save_text])


@contextlib.contextmanager
def full_disk(limit: int = 100) -> Iterator[None]:
    """No file may grow beyond `limit` bytes; root is held to it too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_weights_come_back(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path)
    found = load_weights(path)
    assert found[1:] == WEIGHTS[1:]
    assert set(found.tensors) == set(WEIGHTS.tensors)
    for name, tensor in WEIGHTS.tensors.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype
    plain = WEIGHTS._replace(preprocessing=Preprocessing("squish", None, None))
    checkpoint.save_weights(path, plain)
    assert load_weights(path).preprocessing == plain.preprocessing


def test_the_same_weights_make_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        save_weights(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_state_comes_back(tmp_path: Path) -> None:
    save_state(tmp_path / "state.pt")
    found = load_state(tmp_path / "state.pt")
    assert torch.equal(found["model"]["w"], STATE["model"]["w"])  # type: ignore[index]
    assert found["metrics"] == STATE["metrics"]


@SAVES
def test_a_save_leaves_one_file(tmp_path: Path, save: Callable[[Path], None]) -> None:
    save(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_state_before_is_kept(tmp_path: Path) -> None:
    for number in range(4):
        checkpoint.save_state(tmp_path / "state.pt", {**STATE, "number": number})
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "state.1.pt"}
    assert load_state(tmp_path / "state.pt")["number"] == 3
    assert load_state(tmp_path / "state.1.pt")["number"] == 2


@SAVES
@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_a_failing_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[Path], None], call: str
) -> None:
    (tmp_path / "file").write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    found = refusal(RunError, lambda: save(tmp_path / "file"), "E503")
    assert found.message == f"{tmp_path / 'file'} cannot be written: no space left on device"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@SAVES
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, save: Callable[[Path], None]) -> None:
    (tmp_path / "file").write_text("old")
    with full_disk():
        found = refusal(RunError, lambda: save(tmp_path / "file"), "E503")
    assert found.message.startswith(f"{tmp_path / 'file'} cannot be written: ")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


@SAVES
def test_a_folder_that_has_gone(tmp_path: Path, save: Callable[[Path], None]) -> None:
    found = refusal(RunError, lambda: save(tmp_path / "gone" / "file"), "E503")
    assert "cannot be written: " in found.message


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_save_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def interrupt(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(error):
        save_weights(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["save_state", "save_weights", "curves", "confusion"])
def test_training_that_cannot_save_says_so_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    data = photographs(tmp_path / "data", ["blue", "red"], splits={"train": 2, "valid": 1})
    module: Any = plots if target in ("curves", "confusion") else checkpoint
    real = getattr(module, target)

    def fail(*words: Any, **more: Any) -> None:
        with full_disk():
            real(*words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(module, target, fail)
        run = tmp_path / "run"
        found = refusal(RunError, lambda: shapecalc.train(spec(data), out=run), "E503")
    assert "cannot be written: " in found.message
    assert "--resume" in found.help
    assert not [path for path in run.iterdir() if path.name.startswith(".")]
    shapecalc.resume(run)
    assert shapecalc.load_run(run).classes == ("blue", "red")


def test_truncated_weights_are_refused_at_every_length(learned: Learned, tmp_path: Path) -> None:
    whole, path = learned.run.path.read_bytes(), tmp_path / "cut.safetensors"
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        found = refusal(RunError, lambda: load_run(path), "E502")
        assert found.message.startswith(f"{path} cannot be read: ")


def test_truncated_state_is_refused_at_every_length(learned: Learned, tmp_path: Path) -> None:
    whole, path = (learned.folder / "state.pt").read_bytes(), tmp_path / "state.pt"
    for length in (0, 1, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        found = refusal(RunError, lambda: load_state(path), "E502")
        assert re.match(f"{path} (cannot be read|is damaged): ", found.message)
        assert "\n" not in found.message


def test_damage_in_the_header_is_never_a_traceback(learned: Learned, tmp_path: Path) -> None:
    whole, path = learned.run.path.read_bytes(), tmp_path / "bad.safetensors"
    (length,) = struct.unpack("<Q", whole[:8])
    for position in range(0, 8 + length, 37):
        for flip in (1, 0x20):
            damaged = bytearray(whole)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            # A letter of a class's name may change and nothing be noticed.
            with contextlib.suppress(shapecalc.ShapecalcError):
                load_run(path)


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_a_flipped_bit_is_noticed_wherever_it_is(
    learned: Learned, tmp_path: Path, flip: int
) -> None:
    """In the state each 64 bytes, and each of the last, where its checksum is."""
    whole, path = (learned.folder / "state.pt").read_bytes(), tmp_path / "state.pt"
    for position in {*range(0, len(whole), 64), *range(len(whole) - 100, len(whole))}:
        damaged = bytearray(whole)
        damaged[position] ^= flip
        path.write_bytes(damaged)
        found = refusal(RunError, lambda: load_state(path), "E502")
        assert re.match(f"{path} (cannot be read|is damaged): ", found.message)


def test_weights_whose_numbers_have_changed_are_noticed(learned: Learned, tmp_path: Path) -> None:
    whole, path = learned.run.path.read_bytes(), tmp_path / "best.safetensors"
    (length,) = struct.unpack("<Q", whole[:8])
    for position in range(8 + length, len(whole), 61):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        found = refusal(RunError, lambda: load_run(path), "E502")
        assert (
            found.message == f"{path} is damaged: its checksum is another than when it was written"
        )


def test_weights_without_a_checksum_load(learned: Learned, tmp_path: Path) -> None:
    """Those of other versions, or written by hand."""
    with safe_open(learned.run.path, framework="pt") as file:
        data = json.loads(file.metadata()["shapecalc"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert len(data.pop("checksum")) == 64
    save_file(tensors, tmp_path / "old.safetensors", {"shapecalc": json.dumps(data)})
    assert load_run(tmp_path / "old.safetensors").classes == learned.run.classes


def header(**changes: Any) -> dict[str, str]:
    full = {
        "version": "1",
        "spec": WEIGHTS.spec,
        "classes": ["a", "b"],
        "preprocessing": WEIGHTS.preprocessing._asdict(),
        "epoch": 1,
    }
    return {"shapecalc": json.dumps({**full, **changes})}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "holds weights, but not the spec, classes and preprocessing of a run"),
        ({"format": "pt"}, "holds weights, but not the spec, classes and preprocessing of a run"),
        ({"shapecalc": "{"}, "cannot be read: "),
        ({"shapecalc": "[]"}, "cannot be read: "),
        ({"shapecalc": "{}"}, "cannot be read: "),
        (header(preprocessing=None), "cannot be read: "),
        (header(classes=5), "cannot be read: "),
        (header(), "holds other tensors than its spec describes"),
        (header(spec=5), "cannot be read: "),
    ],
)
def test_foreign_weights_are_refused(
    tmp_path: Path, metadata: dict[str, str] | None, message: str
) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(2)}, path, metadata)
    found = refusal(RunError, lambda: load_run(path), "E502")
    assert found.message.startswith(f"{path} {message}")


def test_the_reason_is_named(tmp_path: Path) -> None:
    found = refusal(RunError, lambda: load_state(tmp_path / "state.pt"), "E502")
    assert found.message.endswith("cannot be read: there is no such file")
    torch.save({"version": 99}, tmp_path / "state.pt")
    found = refusal(RunError, lambda: load_state(tmp_path / "state.pt"), "E502")
    assert found.message.endswith("is of version 99, and this is version 2")
    torch.save({"version": 2}, tmp_path / "state.pt")
    found = refusal(RunError, lambda: load_state(tmp_path / "state.pt"), "E502")
    assert found.message.endswith("is damaged: its checksum is missing")
    torch.save([1], tmp_path / "state.pt")
    refusal(RunError, lambda: load_state(tmp_path / "state.pt"), "E502")


def test_a_state_of_the_first_version_says_what_it_lacks(tmp_path: Path) -> None:
    torch.save({"version": 1, "model": {}, "metrics": []}, tmp_path / "state.pt")
    found = refusal(RunError, lambda: load_state(tmp_path / "state.pt"), "E502")
    assert found.message == (
        f"{tmp_path / 'state.pt'} is of version 1, which lacks the place within an epoch and the "
        "best weights, and this is version 2"
    )
    assert found.help == f"start a new run from its weights: --set train.init={tmp_path}"


class Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_is_never_run(learned: Learned, tmp_path: Path, how: str) -> None:
    canary, run = tmp_path / "canary", tmp_path / "run"
    run.mkdir()
    (run / "spec.yaml").write_bytes((learned.folder / "spec.yaml").read_bytes())
    harm = {"version": 1, "harm": Canary(canary)}
    if how == "pickle":
        (run / "state.pt").write_bytes(pickle.dumps(harm))
        (run / "best.safetensors").write_bytes(pickle.dumps(harm))
    else:
        torch.save(harm, run / "state.pt")
        torch.save(harm, run / "best.safetensors")
    found = refusal(RunError, lambda: shapecalc.resume(run), "E502")
    assert "something other than tensors and plain values" in found.message
    refusal(RunError, lambda: load_run(run), "E502")
    assert not canary.exists()
