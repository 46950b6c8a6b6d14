"""Pictures are decoded once: wherever they are held, what comes of them is the same."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL
import pytest
import torch
from training_fixtures import Ear, metrics, photographs, refusal, same, spec, tensors

import shapecalc
from shapecalc.diagnostics import DataError, Fault, SpecError
from shapecalc.training import cache, store
from shapecalc.training.cache import Cache, HeldSamples, choose_cache
from shapecalc.training.loader import Loader
from shapecalc.training.prepare import Task, prepare
from shapecalc.training.samples import Samples

PLACES = ("memory", "disk")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test; the folder of its entries."""
    monkeypatch.setenv("SHAPECALC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return photographs(tmp_path / "data", splits={"train": 5, "valid": 2})


def ready(
    data: Path, ear: Ear | None = None, *, skip_bad: bool = False, workers: int = 0, **train: Any
) -> Task:
    given = spec(data, **train)
    return prepare(given, skip_bad=skip_bad, threads=workers, reporter=ear or Ear())


def held(samples: Samples) -> HeldSamples:
    assert isinstance(samples, HeldSamples)
    return samples


def pixels(data: Path, ear: Ear | None = None, **rest: Any) -> torch.Tensor:
    """All that is held for training, as [N, H, W, C]."""
    return held(ready(data, ear, **rest).data.train).pixels.clone()


def batches(samples: Samples, workers: int = 0) -> list[tuple[torch.Tensor, ...]]:
    """Those of two epochs."""
    loader = Loader(samples, batch_size=4, seed=3, shuffle=True, workers=workers)
    with loader:
        return [batch for epoch in (1, 2) for batch in loader.epoch(epoch)]


def equal(one: list[tuple[torch.Tensor, ...]], other: list[tuple[torch.Tensor, ...]]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(all(map(torch.equal, ones, others)) for ones, others in pairs)


def rewrite(path: Path, content: bytes) -> None:
    """Another content of the same size and time: only who reads it can tell."""
    before = path.stat()
    assert len(content) <= before.st_size
    path.write_bytes(content.ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("size", [[3, 16, 16], [1, 9, 14]])
def test_the_same_batches_from_everywhere(data: Path, size: list[int]) -> None:
    def of(where: str, workers: int = 0) -> Task:
        given = spec(data, {"input": str(size)}, cache=where)
        return prepare(given, skip_bad=False, threads=workers, reporter=Ear())

    plain = of("none").data
    assert not isinstance(plain.train, HeldSamples)
    expected = batches(plain.train), batches(plain.valid, workers=2)
    for where in PLACES:
        for workers in (0, 2, 0):  # in this process, in others, and what was decoded before
            if workers:
                shutil.rmtree(store.folder())
            found = of(where, workers).data
            for one, other in ((found.train, plain.train), (found.valid, plain.valid)):
                assert (held(one).mapped is not None) == (where == "disk")
                assert (one.files, one.labels) == (other.files, other.labels)
            assert equal(batches(found.train), expected[0])
            assert equal(batches(found.valid), expected[1])


def test_batches_lie_in_channels_last_and_own_their_memory(data: Path) -> None:
    found = batches(ready(data).data.train)
    assert all(pixels.is_contiguous(memory_format=torch.channels_last) for pixels, *_ in found)
    assert len({pixels.data_ptr() for pixels, *_ in found}) == len(found)
    plain = batches(ready(data, cache="none").data.train)
    assert all(pixels.is_contiguous(memory_format=torch.channels_last) for pixels, *_ in plain)


def test_held_samples_can_be_taken_and_started_anywhere(data: Path) -> None:
    found = held(ready(data, cache="disk").data.train)
    some = found.take([9, 0, 4])
    for number, index in enumerate((9, 0, 4)):
        (one, label, _), (other, expected, _) = some[number], found[index]
        assert torch.equal(one, other)
        assert label == expected
    with Loader(found, batch_size=4, seed=0, shuffle=True) as loader:
        whole = list(loader.epoch(1))
        assert equal(list(loader.epoch(1, start=3)), whole[3:])
        assert list(loader.epoch(1, start=4)) == []
        assert loader.positions(1, 2) == whole[2][2].tolist()
    with pytest.raises(ValueError, match="closed"):
        next(loader.epoch(1))


@pytest.mark.parametrize(
    "augment",
    [["random_horizontal_flip", {"random_crop": {"padding": 2}}], ["random_resized_crop"]],
    ids=["whole batch", "one by one"],
)
def test_training_learns_the_same_from_everywhere(
    data: Path, tmp_path: Path, augment: list[Any]
) -> None:
    for where in (*PLACES, "none"):
        given = spec(data, cache=where, augment=augment, epochs=1)
        shapecalc.train(given, out=tmp_path / where, reporter=Ear())
    for where in PLACES:
        assert metrics(tmp_path / where) == metrics(tmp_path / "none")
        assert same(tensors(tmp_path / where), tensors(tmp_path / "none"))


def test_each_picture_is_decoded_once(data: Path, place: Path) -> None:
    ear = Ear()
    before = pixels(data, ear)
    assert ear.begun == ["decoding images", "decoding images"]
    assert len(list(place.iterdir())) == 2
    for path in data.rglob("*.jpg"):
        rewrite(path, b"no longer a picture")
    for where in PLACES:
        ear = Ear()
        assert torch.equal(pixels(data, ear, cache=where), before)
        assert ear.begun == ["reading images", "reading images"]


def other_time(data: Path) -> None:
    os.utime(next(data.rglob("*.jpg")))


def other_size(data: Path) -> None:
    path = data / "train" / "red" / "00.jpg"
    rewrite(path, path.read_bytes())
    status = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def other_name(data: Path) -> None:
    (data / "train" / "red" / "00.jpg").rename(data / "train" / "red" / "zero.jpg")


def one_more(data: Path) -> None:
    shutil.copy2(data / "train" / "red" / "00.jpg", data / "train" / "red" / "more.jpg")


@pytest.mark.parametrize("change", [other_time, other_size, other_name, one_more])
def test_another_file_is_another_entry(data: Path, change: Callable[[Path], None]) -> None:
    os.utime(next(data.rglob("*.jpg")), (1, 1))
    ready(data)
    change(data)
    ear = Ear()
    ready(data, ear)
    assert sorted(ear.begun) == ["decoding images", "reading images"]


def test_another_decoding_is_another_entry(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(**train: Any) -> set[str]:
        ear = Ear()
        ready(data, ear, **train)
        return set(ear.begun)

    for _ in range(2):
        expected = begun()
    assert expected == {"reading images"}
    assert begun(resize="pad") == {"decoding images"}
    given = spec(data, {"input": "[3, 16, 18]"})
    ear = Ear()
    prepare(given, skip_bad=False, threads=0, reporter=ear)
    assert set(ear.begun) == {"decoding images"}
    with monkeypatch.context() as patch:
        patch.setattr(PIL, "__version__", "99.0")
        assert begun() == {"decoding images"}
    with monkeypatch.context() as patch:
        patch.setattr(cache, "CONVERSION", 99)
        assert begun() == {"decoding images"}
    assert begun() == {"reading images"}


@pytest.mark.parametrize("where", PLACES)
def test_a_damaged_file_is_noticed_and_made_anew(data: Path, place: Path, where: str) -> None:
    before = pixels(data, cache=where)
    (path,) = (p for p in place.iterdir() if p.stat().st_size > 15 * 768)
    whole = path.read_bytes()
    flips = (0, 4 * 768 + 5, 15 * 768, 15 * 768 + 61, len(whole) - 30, len(whole) - 1)
    damaged = [whole[:length] for length in (0, 1, 99, 768, 15 * 768, len(whole) - 1)]
    damaged += [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in flips]
    damaged += [whole[768:], whole + b"\0", bytes(len(whole))]
    for content in damaged:
        path.write_bytes(content)
        ear = Ear()
        assert torch.equal(pixels(data, ear, cache=where), before)
        assert f"the images of {data / 'train'} are decoded anew: their cache " in ear.said
        assert "decoding images" in ear.begun
        assert path.read_bytes() == whole


def broken(data: Path) -> list[str]:
    paths = [data / split / "red" / "01.jpg" for split in ("train", "valid")]
    for path in paths:
        rewrite(path, path.read_bytes()[:200])
    return list(map(str, paths))


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("workers", [0, 2])
def test_filling_it_is_the_check(data: Path, where: str, workers: int) -> None:
    paths = broken(data)
    for begun in ("decoding images", "reading images"):  # the second time it is known
        ear = Ear()
        with pytest.raises(DataError) as caught:
            ready(data, ear, cache=where, workers=workers)
        assert [d.message.split(" is ")[0] for d in caught.value.diagnostics] == paths
        assert set(ear.begun) == {begun}
    found = ready(data, cache=where, skip_bad=True).data
    plain = ready(data, cache="none", skip_bad=True).data
    assert (len(found.train), len(found.valid)) == (14, 5)
    assert not set(paths) & {*found.train.files, *found.valid.files}
    assert equal(batches(found.train), batches(plain.train))
    assert equal(batches(found.valid), batches(plain.valid))


def test_what_can_be_read_again_is_decoded_again(data: Path) -> None:
    path = data / "train" / "red" / "01.jpg"
    good = path.read_bytes()
    rewrite(path, good[:200])
    refusal(DataError, lambda: ready(data), "E404")
    rewrite(path, good)
    ear = Ear()
    assert len(ready(data, ear).data.train) == 15
    assert "could not be read before" in ear.said


def test_all_of_a_split_is_broken(data: Path) -> None:
    for path in (data / "valid").rglob("*.jpg"):
        path.write_bytes(b"")
    for where in ("disk", "disk", "memory"):
        with pytest.raises(DataError, match="E404: no picture of blue, green, red can be read"):
            ready(data, skip_bad=True, cache=where)


class Breaks(Ear):
    """Does something in the middle of filling the cache."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def update(self, done: int, **figures: float) -> None:
        if self.begun[-1] == "decoding images":
            self.act()


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_filling_leaves_nothing(data: Path, place: Path) -> None:
    for where in PLACES:
        for workers in (0, 1):
            with pytest.raises(KeyboardInterrupt):
                ready(data, Breaks(interrupt), cache=where, workers=workers)
            assert list(place.iterdir()) == []
            assert multiprocessing.active_children() == []


def in_process(work: Callable[[], object]) -> int | None:
    """Runs it in a process of its own; its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    return child.exitcode


def test_what_a_killed_process_leaves_is_removed_next_time(data: Path, place: Path) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_process(lambda: ready(data, Breaks(kill))) == -signal.SIGKILL
    assert [path.suffix for path in place.iterdir()] == [".partial"]
    ready(data)
    assert {path.suffix for path in place.iterdir()} == {".pixels"}


def test_what_another_process_writes_is_left_alone(data: Path, place: Path) -> None:
    with store.Writer("mine", "root", (1, 1, 1)) as writer:
        writer.write(memoryview(b"7"))
        assert in_process(lambda: ready(data)) == 0
        assert store.clear()[0] == 2
        assert [path.suffix for path in place.iterdir()] == [".partial"]
        writer.finish([])
    (entry,) = store.entries()
    assert (entry.description.pictures, entry.checksums) == (1, (zlib.crc32(b"7"),))


def test_two_processes_fill_it_at_once(data: Path, place: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2)

    def fill(name: str) -> None:
        torch.save(pixels(data, Breaks(lambda: together.wait(30))), tmp_path / name)

    children = [context.Process(target=fill, args=(name,)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert torch.equal(torch.load(tmp_path / "a"), torch.load(tmp_path / "b"))
    assert sorted(path.suffix for path in place.iterdir()) == [".pixels", ".pixels"]
    ear = Ear()
    assert torch.equal(pixels(data, ear), torch.load(tmp_path / "a"))
    assert set(ear.begun) == {"reading images"}


@pytest.mark.parametrize("bytes_", [0, 2000, 15 * 768 + 10])
def test_a_write_that_fails_costs_only_the_cache(
    data: Path, place: Path, tmp_path: Path, bytes_: int
) -> None:
    """The system refuses to write more than so many bytes into a file."""
    plain = batches(ready(data, cache="none").data.train)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))
        for where in PLACES:
            ear = Ear()
            found = ready(data, ear, cache=where).data.train
            assert isinstance(found, HeldSamples) == (where == "memory")
            assert equal(batches(found), plain)
            assert f"the decoded images of {data / 'train'} are not kept: {place}: " in ear.said
            assert "File too large" in ear.said
            assert not any(path.suffix == ".partial" for path in place.iterdir())

    assert in_process(fill) == 0


def test_a_folder_that_cannot_be_made(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SHAPECALC_CACHE", str(tmp_path / "file"))
    ear = Ear()
    assert isinstance(ready(data, ear).data.train, HeldSamples)
    assert "are not kept: " in ear.said


def test_files_that_change_meanwhile_are_not_kept(data: Path, place: Path) -> None:
    path = data / "train" / "red" / "00.jpg"
    for where in PLACES:
        ear = Breaks(lambda: os.utime(path, ns=(0, len(list(data.rglob("*"))))))
        os.utime(path, (5, 5))
        assert isinstance(ready(data, ear, cache=where).data.train, HeldSamples)
        assert f"images in {data / 'train'} have changed while they were decoded" in ear.said
        assert [entry.description.root for entry in store.entries()] == [str(data / "valid")]


def test_the_last_used_stay_within_the_limit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = [shutil.copytree(data, tmp_path / name) for name in ("one", "two", "three")]

    def kept() -> set[str]:
        return {Path(entry.description.root).parent.name for entry in store.entries()}

    ready(roots[0])
    taken = sum(entry.size for entry in store.entries())
    monkeypatch.setenv("SHAPECALC_CACHE_LIMIT", f"{2 * taken + 100}B")
    ready(roots[1])
    assert kept() == {"one", "two"}
    for path in store.folder().iterdir():
        os.utime(path, (1, 1))
    ready(roots[0])  # used again, so the other is older
    ready(roots[2])
    assert kept() == {"one", "three"}
    ear = Ear()
    ready(roots[1], ear)
    assert set(ear.begun) == {"decoding images"}


@pytest.mark.parametrize("limit", ["0", "2kB"])
def test_without_room_on_disk_memory_is_enough(
    data: Path, place: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv("SHAPECALC_CACHE_LIMIT", limit)
    ear = Ear()
    assert isinstance(ready(data, ear).data.train, HeldSamples)
    assert not place.exists()
    assert "not kept" not in ear.said
    found = refusal(SpecError, lambda: ready(data, cache="disk"), "E501")
    assert found.message.startswith(f"cache: disk needs 15.75 KiB in {place}, which may take ")
    assert found.help.startswith("SHAPECALC_CACHE_LIMIT sets another limit")
    assert found.place is not None
    assert found.place.text == '  cache: "disk"'


def test_a_limit_that_is_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHAPECALC_CACHE_LIMIT", "plenty")
    found = refusal(SpecError, lambda: ready(data), "E109")
    assert found.message == "SHAPECALC_CACHE_LIMIT: 'plenty' is not an amount of memory"


@pytest.fixture
def splits(data: Path) -> Iterator[tuple[Samples, Samples]]:
    found = ready(data, cache="none").data
    return found.train, found.valid


def test_auto_takes_the_quickest_place_with_room(
    splits: tuple[Samples, Samples], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu, gpu, size = torch.device("cpu"), torch.device("cuda"), 21 * 768

    def chosen(device: torch.device, *, gpu: int = 0, memory: int = 0, disk: int = 0) -> str:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (gpu, 2**40))
        monkeypatch.setattr(cache, "available_memory", lambda: memory)
        monkeypatch.setenv("SHAPECALC_CACHE_LIMIT", f"{disk}B")
        found = choose_cache("auto", splits, device)
        assert found.stored == (disk >= size)
        assert f"{size / 1024:.2f} KiB for 21" in found.said
        return found.place

    assert chosen(gpu, gpu=2 * size, memory=2 * size, disk=size) == "device"
    assert chosen(gpu, gpu=2 * size - 1, memory=2 * size, disk=size) == "memory"
    assert chosen(gpu, gpu=2 * size - 1, memory=2 * size - 1, disk=size) == "disk"
    assert chosen(cpu, gpu=2 * size, memory=2 * size) == "memory"
    assert chosen(cpu, memory=2 * size - 1, disk=size) == "disk"
    assert chosen(cpu, memory=2 * size - 1, disk=size - 1) == "none"
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert chosen(cpu, memory=2 * size, disk=size) == "disk"


def test_data_larger_than_memory_and_disk_is_trained_from_as_it_is(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "available_memory", lambda: 1000)
    for limit, where in (
        ("1MB", f"are in {store.folder()}"),
        ("1kB", "are decoded in every epoch"),
    ):
        monkeypatch.setenv("SHAPECALC_CACHE_LIMIT", limit)
        ear = Ear()
        shapecalc.train(spec(data, epochs=1), out=tmp_path / limit, reporter=ear)
        assert f"images {where}" in ear.said
        assert "reading images" not in ear.begun
    assert metrics(tmp_path / "1MB") == metrics(tmp_path / "1kB")


def test_a_gpu_that_is_not_trained_on_holds_nothing(data: Path) -> None:
    found = refusal(SpecError, lambda: ready(data, cache="device"), "E501")
    assert found.message == "cache: device holds images on a GPU, and training is on the cpu"
    assert found.help == "write cache: auto"
    assert found.place is not None
    assert found.place.text == '  cache: "device"'


def test_memory_that_there_is_not(splits: tuple[Samples, Samples]) -> None:
    shape = (3, 2**20, 2**20)
    huge = type(splits[0])(**{**vars(splits[0]), "shape": shape})
    cache = Cache("memory", torch.device("cpu"), "", keys={huge: "huge"})
    with pytest.raises(
        Fault, match=r"cache: memory does not take the 46,080.00 GiB of the images"
    ) as caught:
        cache.hold(huge, threads=0, reporter=Ear())
    assert caught.value.help == "write cache: auto"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="for machines with a GPU")
def test_batches_come_from_the_gpu(data: Path) -> None:
    given = spec(data, cache="device")
    gpu = torch.device("cuda")
    plain = batches(ready(data, cache="none").data.train)
    for _ in ("decoded", "read"):
        task = prepare(given, skip_bad=False, threads=0, reporter=Ear(), device=gpu)
        found = batches(task.data.train)
        assert all(pixels.is_cuda for pixels, *_ in found)
        assert equal([(p.cpu(), *rest) for p, *rest in found], plain)
    with Loader(ready(data).data.train, batch_size=4, seed=3, shuffle=True, pin_memory=True) as on:
        pinned = [batch for epoch in (1, 2) for batch in on.epoch(epoch)]
    assert all(pixels.is_pinned() for pixels, *_ in pinned)
    assert equal(pinned, plain)


def test_evaluation_finds_what_was_decoded(data: Path, tmp_path: Path) -> None:
    run = shapecalc.train(spec(data), out=tmp_path / "run", reporter=Ear())
    before, _ = run.evaluate(split="valid")
    for path in data.rglob("*.jpg"):
        rewrite(path, b"no longer a picture")
    assert run.evaluate(split="valid")[0] == before
    assert run.evaluate(data, split="train")[0].count == 15
    (data / "valid" / "red" / "00.jpg").touch()
    with pytest.raises(DataError):
        run.evaluate(split="valid")


class Meddles(Ear):
    """Does something to the data once an epoch is saved."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self.act = act

    def epoch(self, metrics: Any) -> None:
        super().epoch(metrics)
        self.act()


@pytest.mark.parametrize(("what", "workers"), [("removed", 1), ("overwritten", 0)])
def test_a_file_that_goes_while_training_goes_on(
    data: Path, tmp_path: Path, what: str, workers: int
) -> None:
    path = data / "train" / "red" / "00.jpg"
    good = path.read_bytes()

    def meddle() -> None:
        if what == "removed":
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(b"<html>")

    given, plain = spec(data, workers=workers), spec(data, workers=workers, cache="none")
    shapecalc.train(given, out=tmp_path / "held", reporter=Meddles(meddle))
    path.write_bytes(good)
    found = refusal(
        DataError,
        lambda: shapecalc.train(plain, out=tmp_path / "plain", reporter=Meddles(meddle)),
        "E404",
    )
    assert found.message.startswith(str(path))
    assert len(metrics(tmp_path / "plain")) == 1
    path.write_bytes(good)
    shapecalc.resume(tmp_path / "plain")
    assert metrics(tmp_path / "plain") == metrics(tmp_path / "held")
