"""Pictures that are decoded once and then held as bytes, where batches are one gather: on the
device, in memory, or in a file that is mapped into memory.

What is decoded is kept in the user's cache for the next run, too, within a limit. Decoding it is
the check that all pictures can be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import mmap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import PIL
import torch
from torch import Tensor

from shapecalc.analysis.memory import in_units
from shapecalc.builder.network import available_memory
from shapecalc.caches import CACHE
from shapecalc.diagnostics import Fault
from shapecalc.training import store
from shapecalc.training.decoders import in_order
from shapecalc.training.faults import reason
from shapecalc.training.images import CONVERSION, UnreadableImage
from shapecalc.training.launch import launch
from shapecalc.training.reporter import Reporter
from shapecalc.training.samples import Samples, Shape

_SHARE = 0.5
"""Of free memory that pictures may take; training needs the rest."""
_CHUNK = 2**26
"""Bytes of pictures that are read from the cache at once."""


@dataclass(frozen=True, eq=False)
class HeldSamples(Samples):
    """Pictures that are decoded already."""

    pixels: Tensor
    """uint8 [N, H, W, C], wherever they are held."""
    rows: Tensor
    """int64: where in `pixels` each of these samples is."""
    mapped: mmap.mmap | None = None
    """The file that the pixels come from when they are asked for."""

    def read(self, index: int, shape: Shape) -> Tensor:
        if shape != self.shape:
            raise ValueError(f"{list(shape)} is asked for, but {list(self.shape)} is held")
        return self.pixels[self.rows[index]].permute(2, 0, 1)

    def fetch(self, indices: Sequence[int], *, pin_memory: bool = False) -> Tensor:
        """As of all samples, but on the device that holds them, or in pinned memory.

        Each batch has memory of its own, since a step may keep several, and a copy to a GPU takes
        its time; torch's allocators hand that of earlier ones out again.
        """
        rows, pixels, out = self.rows[list(indices)], self.pixels, None
        if pin_memory and pixels.device.type == "cpu":
            shape = (len(rows), *pixels.shape[1:])
            out = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        return torch.index_select(pixels, 0, rows.to(pixels.device), out=out).permute(0, 3, 1, 2)

    def expect(self, indices: Sequence[int]) -> None:
        """Let the system read these pictures from disk meanwhile; they are fetched next."""
        if self.mapped is None or not hasattr(self.mapped, "madvise"):
            return
        size = math.prod(self.shape)
        for row in self.rows[list(indices)].tolist():
            start = row * size // mmap.PAGESIZE * mmap.PAGESIZE
            self.mapped.madvise(mmap.MADV_WILLNEED, start, (row + 1) * size - start)

    def identity(self) -> Iterator[str]:
        raise NotImplementedError("pictures that are held are not cached again")

    def take(self, indices: Sequence[int]) -> Self:
        return replace(super().take(indices), rows=self.rows[list(indices)])


class Held(NamedTuple):
    """The pixels of those pictures of a split that can be read, in their order."""

    pixels: Tensor
    mapped: mmap.mmap | None = None

    def of(self, samples: Samples) -> HeldSamples:
        """These samples, all of which can be read, with their pixels."""
        return HeldSamples(
            root=samples.root,
            classes=samples.classes,
            files=samples.files,
            labels=samples.labels,
            shape=samples.shape,
            resize=samples.resize,
            pixels=self.pixels,
            rows=torch.arange(len(samples)),
            mapped=self.mapped,
        )


@dataclass(frozen=True)
class Cache:
    """Where the pictures of a task are held."""

    place: str
    """device, memory or disk; none where they are decoded in every epoch."""
    device: torch.device
    said: str
    """Where they are held and why, for the user."""
    stored: bool = False
    """Whether they are kept on disk for the next run, too."""
    keys: Mapping[Samples, str] = field(default_factory=dict)
    """Of all splits in the store."""

    def hold(
        self, samples: Samples, *, threads: int, reporter: Reporter
    ) -> tuple[Held | None, list[UnreadableImage]]:
        """The pixels of a split, and what cannot be read of it; no pixels where they cannot be
        held after all. Raises Fault."""
        key = self.keys[samples]
        try:
            if entry := _current(key, samples):
                bad = entry.description.bad
                faults = [UnreadableImage(samples.files[number], why) for number, why in bad]
                return self._read(entry, reporter), faults
        except store.Damaged as damage:
            reporter.note(f"the images of {samples.root} are decoded anew: their cache {damage}")
            store.remove(key)
        return self._decode(samples, key, threads, reporter)

    def _read(self, entry: store.Entry, reporter: Reporter) -> Held:
        """The pixels of an entry, compared with their checksums, but for those that are to be read
        from disk since they are more than memory holds. Raises Damaged."""
        about = entry.description
        count, size = about.pictures, about.picture
        pixels, mapped = _mapped(entry)
        target = None if self.place == "disk" else self._room(count, about.shape)
        if target is None and count * size > available_memory():
            return Held(pixels, mapped)
        reporter.begin("reading images", count)
        step = max(1, _CHUNK // size)
        for start in range(0, count, step):
            some = range(start, min(start + step, count))
            entry.check(mapped, some)
            if target is not None:
                target[some.start : some.stop].copy_(pixels[some.start : some.stop])
            reporter.update(some.stop)
        return Held(pixels, mapped) if target is None else Held(target)

    def _decode(
        self, samples: Samples, key: str, threads: int, reporter: Reporter
    ) -> tuple[Held | None, list[UnreadableImage]]:
        channels, height, width = samples.shape
        shape, size = (height, width, channels), height * width * channels
        target = None if self.place == "disk" else self._room(len(samples), shape)
        bad: dict[int, UnreadableImage] = {}
        pictures = in_order(samples.attempt, range(len(samples)), threads)
        count = 0
        reporter.begin("decoding images", len(samples))
        with contextlib.ExitStack() as stack:
            writer = None
            if self.stored:
                store.make_room(len(samples) * size, among=self.keys.values())
                writer = stack.enter_context(store.Writer(key, str(samples.root), shape))
            for number, picture in enumerate(stack.enter_context(closing(pictures))):
                if isinstance(picture, UnreadableImage):
                    bad[number] = picture
                else:
                    pixels = picture.permute(1, 2, 0)
                    if writer:
                        writer.write(pixels.numpy().reshape(-1).data)
                    if target is not None:
                        _put(pixels, target[count])
                    count += 1
                reporter.update(number + 1)
            if writer:
                writer.finish([(number, error.reason) for number, error in bad.items()])
                if writer.failed:
                    why = f"{store.folder()}: {reason(writer.failed)}"
                    reporter.note(f"the decoded images of {samples.root} are not kept: {why}")
        held = Held(target[:count]) if target is not None else self._found(key)
        if self.stored and _key(samples) != key:
            reporter.note(f"images in {samples.root} have changed while they were decoded")
            store.remove(key)  # whoever has it mapped keeps it
        return held, list(bad.values())

    def _found(self, key: str) -> Held | None:
        """What has just been written, where that went well."""
        with contextlib.suppress(store.Damaged):
            if entry := store.find(key):
                return Held(*_mapped(entry))
        return None

    def _room(self, count: int, shape: tuple[int, int, int]) -> Tensor:
        """Memory for so many pictures. Raises Fault."""
        place = self.device if self.place == "device" else torch.device("cpu")
        try:
            return torch.empty((count, *shape), dtype=torch.uint8, device=place)
        except RuntimeError as error:  # torch's way to say that there is not enough
            size = in_units(count * math.prod(shape))
            raise Fault(
                "E501",
                f"cache: {self.place} does not take the {size} of the images",
                argument="cache",
                help="write cache: auto",
            ) from error


def choose_cache(setting: str, splits: Sequence[Samples], device: torch.device) -> Cache:
    """Where to hold the pictures of these splits; `auto` is where they fit and batches come from
    most quickly. Raises Fault for a place that there is not."""
    count = sum(map(len, splits))
    size = sum(len(samples) * math.prod(samples.shape) for samples in splits)
    if setting == "none":
        return Cache("none", device, "images are decoded in every epoch (as set)")
    keys = {samples: _key(samples) for samples in splits}
    kept = store.taken(keys.values())
    stored = store.has_room(max(0, size - kept), among=keys.values())
    free = {"device": _free_on(device), "memory": _free_memory()}
    place, why = setting, "as set"
    if setting == "auto":
        place = next((p for p in free if size <= _SHARE * free[p]), "disk" if stored else "none")
        why = f"{in_units(free['device' if place == 'device' else 'memory'])} of memory are free"
    _expect_place(place, device, size, stored)
    where = {
        "device": f"are on {device}",
        "memory": "are in memory",
        "disk": f"are in {store.folder()}",
        "none": "are decoded in every epoch, as there is no room for them",
    }
    said = f"images {where[place]}: {in_units(size)} for {count:,} ({why})"
    return Cache(place, device, said, stored, keys)


def _expect_place(place: str, device: torch.device, size: int, stored: bool) -> None:
    if place == "device" and device.type != "cuda":
        message = f"cache: device holds images on a GPU, and training is on the {device.type}"
        raise Fault("E501", message, argument="cache", help="write cache: auto")
    if place == "disk" and not stored:
        raise Fault(
            "E501",
            f"cache: disk needs {in_units(size)} in {store.folder()}, which may take "
            f"{in_units(store.limit())}",
            argument="cache",
            help=f"{store.LIMIT} sets another limit, and {CACHE} another folder",
        )


def find_held(samples: Samples) -> Samples:
    """The samples with their pixels from the cache, where it has them all; else as they are."""
    if isinstance(samples, HeldSamples):
        return samples
    with contextlib.suppress(store.Damaged):
        entry = _current(_key(samples), samples)
        if entry and not entry.description.bad:
            return Held(*_mapped(entry)).of(samples)
    return samples


def _key(samples: Samples) -> str:
    """The name of all that the pixels of a split depend on."""
    digest = hashlib.blake2b(digest_size=16)
    how = f"{CONVERSION} {PIL.__version__} {samples.resize} {samples.shape}"
    for word in (how, *samples.identity()):
        digest.update(f"{word}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _current(key: str, samples: Samples) -> store.Entry | None:
    """The entry of a split, if there is one. Raises Damaged, also where a picture that could not
    be read can be read now, as after a change of permissions."""
    entry = store.find(key)
    if entry is None:
        return None
    if not all(samples.check(number) for number, _ in entry.description.bad):
        raise store.Damaged("lacks images that could not be read before")
    return entry


def _mapped(entry: store.Entry) -> tuple[Tensor, mmap.mmap]:
    """The pixels where they lie. Raises Damaged."""
    about = entry.description
    try:
        mapped = entry.mapped()
    except (OSError, ValueError) as error:
        raise store.Damaged(f"cannot be opened: {reason(error)}") from error
    if not about.pictures:
        return torch.empty((0, *about.shape), dtype=torch.uint8), mapped
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that a tensor cannot be protected as this is
        pixels = torch.frombuffer(mapped, dtype=torch.uint8, count=about.pictures * about.picture)
    return pixels.view(about.pictures, *about.shape), mapped


def _put(pixels: Tensor, place: Tensor) -> None:
    """Copy a picture; in memory without torch's threads, which the decoders leave no core for."""
    if place.device.type == "cpu":
        place.numpy()[...] = pixels.numpy()
    else:
        place.copy_(pixels)


def _free_on(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0


def _free_memory() -> int:
    """Bytes of memory that are free for this process; those of torchrun share them."""
    return available_memory() // launch().local_world
