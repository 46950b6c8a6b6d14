"""The data sets of torchvision, from raw files made here."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets
from training_fixtures import HEAD, Ear, spec

from shapecalc.diagnostics import DataError
from shapecalc.language.recipe import TorchvisionData
from shapecalc.training.cache import HeldSamples
from shapecalc.training.data import find_data
from shapecalc.training.prepare import prepare
from shapecalc.training.samples import Data, check_images


def fashion(root: Path, train: int = 40, test: int = 10) -> Path:
    """The four raw files of FashionMNIST, with picture i all of shade i and of class i % 10."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", train), ("t10k", test)):
        images = np.repeat(np.arange(count, dtype=np.uint8), 28 * 28)
        header = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (count, 28, 28))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        header = b"\0\0\x08\x01" + count.to_bytes(4, "big")
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    return root


def torchvision(name: str, root: Path, shape: tuple[int, int, int] = (1, 28, 28)) -> Data:
    settings = TorchvisionData(torchvision=name, root=str(root), valid=0.25)
    return find_data(settings, input_shape=shape, resize="squish", seed=0)


def test_a_data_set_of_torchvision(tmp_path: Path) -> None:
    data = torchvision("FashionMNIST", fashion(tmp_path))
    assert data.classes[:2] == ("T-shirt/top", "Trouser")
    assert Counter(data.valid.labels) == dict.fromkeys(range(10), 1)
    assert Counter(data.train.labels) == dict.fromkeys(range(10), 3)
    assert data.test is not None
    assert data.test.labels == tuple(range(10))
    assert data.test.root == tmp_path / "FashionMNIST" / "test"
    assert data.notes == ("set 10 of 40 pictures aside for validation",)
    shades = set()
    for part in (data.train, data.valid):
        for i in range(len(part)):
            pixels, label, _ = part[i]
            assert pixels.shape == (1, 28, 28)
            assert int(pixels[0, 0, 0]) % 10 == label
            assert part.files[i] == f"FashionMNIST/train/{int(pixels[0, 0, 0])}"
            shades.add(int(pixels[0, 0, 0]))
    assert shades == set(range(40))
    assert check_images(data.train) == []
    assert torchvision("FashionMNIST", tmp_path).valid.files == data.valid.files


def test_its_pictures_are_converted_like_files(tmp_path: Path) -> None:
    pixels, _, _ = torchvision("FashionMNIST", fashion(tmp_path), (3, 32, 20)).train[5]
    assert pixels.shape == (3, 32, 20)
    assert pixels.min() == pixels.max()


class FakeData(datasets.FakeData):  # type: ignore[misc]
    """Torchvision's, smaller."""

    def __init__(self) -> None:
        super().__init__(size=20, image_size=(3, 8, 8), num_classes=3)


def test_a_data_set_without_a_test_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "FakeData", FakeData)
    data = torchvision("FakeData", tmp_path, (3, 8, 8))
    assert (len(data.train) + len(data.valid), data.test) == (20, None)
    assert data.classes == ("0", "1", "2")


def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])
    with pytest.raises(DataError) as caught:
        torchvision("FashionMNIST", tmp_path)
    (fault,) = caught.value.diagnostics
    assert fault.code == "E401"
    assert fault.message.startswith("torchvision's FashionMNIST is not to be had: ")
    assert "\n" not in fault.message
    assert fault.help.endswith(f"into {tmp_path / 'FashionMNIST' / 'raw'}")
    assert "t10k-labels-idx1-ubyte" in fault.help


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("FashionMnist", "did you mean FashionMNIST?"),
        ("vision", None),
        ("CocoCaptions", None),
    ],
)
def test_a_data_set_that_is_none_of_torchvisions(
    tmp_path: Path, name: str, mend: str | None
) -> None:
    with pytest.raises(DataError) as caught:
        torchvision(name, tmp_path)
    (fault,) = caught.value.diagnostics
    assert fault.code == "E401"
    assert name in fault.message
    assert mend is None or fault.help == mend


def test_the_raw_files_may_be_damaged(tmp_path: Path) -> None:
    raw = fashion(tmp_path) / "FashionMNIST" / "raw"
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    with pytest.raises(DataError, match="E401: torchvision's FashionMNIST"):
        torchvision("FashionMNIST", tmp_path)
    shutil.rmtree(raw)


def test_its_pictures_are_held_once_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHAPECALC_CACHE", str(tmp_path / "cache"))
    root = fashion(tmp_path / "data")
    setting = {"torchvision": "FashionMNIST", "root": str(root), "valid": 0.25}
    given = spec(None, {"train.data": json.dumps(setting)}, layers=("flatten", HEAD))

    def begun() -> set[str]:
        ear = Ear()
        data = prepare(given, skip_bad=False, threads=0, reporter=ear).data
        plain = find_data(
            given.recipe().data, input_shape=(3, 16, 16), resize="squish", seed=0
        )  # fmt: skip
        for samples, expected in ((data.train, plain.train), (data.valid, plain.valid)):
            assert isinstance(samples, HeldSamples)
            assert samples.labels == expected.labels
            every = range(len(expected))
            assert torch.equal(samples.fetch(every), expected.fetch(every))
        return set(ear.begun)

    assert begun() == {"decoding images"}
    assert begun() == {"reading images"}
    os.utime(root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte")
    assert begun() == {"decoding images"}
