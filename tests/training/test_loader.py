"""Batches: in which order, and what becomes of the workers that make them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import find, folder

from shapecalc.diagnostics import DataError
from shapecalc.training.loader import Loader, batches
from shapecalc.training.samples import Samples, check_images


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    root = folder(tmp_path_factory.mktemp("loader"), train__hat=12, train__cap=11)
    return find(folder(root, valid__hat=1, valid__cap=1)).train


def order(stream: Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> list[list[int]]:
    return [positions.tolist() for _, _, positions in stream]


def test_batches_hold_what_the_samples_hold(samples: Samples) -> None:
    stream = list(batches(samples, batch_size=5, epoch=3, seed=1, shuffle=True))
    assert [len(pixels) for pixels, _, _ in stream] == [5, 5, 5, 5, 3]
    for pixels, labels, positions in stream:
        assert (pixels.dtype, labels.dtype, positions.dtype) == (
            torch.uint8,
            torch.int64,
            torch.int64,
        )
        for row, position in enumerate(positions.tolist()):
            expected, label, _ = samples[position]
            assert torch.equal(pixels[row], expected)
            assert labels[row] == label


def test_the_order_is_the_same_for_any_number_of_workers(samples: Samples) -> None:
    settings: dict[str, Any] = {"batch_size": 4, "seed": 7, "shuffle": True}
    with Loader(samples, **settings) as alone, Loader(samples, **settings, workers=2) as helped:
        epochs = [order(alone.epoch(number)) for number in (1, 2, 1)]
        assert [order(helped.epoch(number)) for number in (1, 2, 1)] == epochs
    assert epochs[0] == epochs[2] != epochs[1]
    assert sorted(chain(*epochs[0])) == list(range(23))
    assert epochs[0] == order(batches(samples, epoch=1, **settings))
    assert epochs[0] != order(batches(samples, epoch=1, **{**settings, "seed": 8}))


def test_without_shuffling_positions_count_up(samples: Samples) -> None:
    found = order(batches(samples, batch_size=10, epoch=5, seed=0, shuffle=False))
    assert list(chain(*found)) == list(range(23))


@pytest.mark.parametrize("workers", [0, 2])
def test_start_skips_batches(samples: Samples, workers: int) -> None:
    with Loader(samples, batch_size=4, seed=0, shuffle=True, workers=workers) as loader:
        assert len(loader) == 6
        whole = order(loader.epoch(2))
        assert order(loader.epoch(2, start=4)) == whole[4:]
        assert order(loader.epoch(2, start=6)) == []
        assert order(loader.epoch(2)) == whole


def test_an_epoch_that_is_broken_off_leaves_no_trace(samples: Samples) -> None:
    with Loader(samples, batch_size=2, seed=0, shuffle=True, workers=2) as loader:
        whole = order(loader.epoch(1))
        for _ in loader.epoch(2):
            break
        assert order(loader.epoch(1)) == whole


def test_workers_live_from_epoch_to_epoch_and_end_with_close(samples: Samples) -> None:
    before = set(multiprocessing.active_children())
    loader = Loader(samples, batch_size=4, seed=0, shuffle=True, workers=2)
    pids = []
    for number in range(2):
        order(loader.epoch(number))
        pids.append({child.pid for child in set(multiprocessing.active_children()) - before})
    assert len(pids[0]) == 2
    assert pids[0] == pids[1]
    loader.close()
    assert set(multiprocessing.active_children()) <= before
    with pytest.raises(ValueError, match="closed"):
        next(loader.epoch(3))


def test_workers_leave_signals_to_their_parent(
    samples: Samples, capfd: pytest.CaptureFixture[str]
) -> None:
    with Loader(samples, batch_size=1, seed=0, shuffle=True, workers=2) as loader:
        whole = order(loader.epoch(0))
        stream = loader.epoch(0)
        found = [next(stream)[2].tolist()]
        for child in multiprocessing.active_children():
            assert child.pid
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        assert found + order(stream) == whole
    assert capfd.readouterr().err == ""
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_loading_draws_nothing_from_the_global_random_state(samples: Samples) -> None:
    before = torch.get_rng_state()
    for workers in (0, 1):
        order(batches(samples, batch_size=4, epoch=0, seed=0, shuffle=True, workers=workers))
    check_images(samples)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_with_an_unreadable_image_raises(tmp_path: Path, workers: int) -> None:
    data = find(folder(tmp_path, train__hat=4, train__cap=4, valid__hat=1, valid__cap=1))
    Path(data.train.files[5]).write_bytes(b"")
    stream = batches(data.train, batch_size=4, epoch=0, seed=0, shuffle=False, workers=workers)
    next(stream)
    with pytest.raises(DataError) as caught:
        next(stream)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.message == f"{data.train.files[5]} is empty"
