"""`shapecalc cache` as it is typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from training_fixtures import Shell

from shapecalc.training import store


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.setenv("SHAPECALC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SHAPECALC_CACHE_LIMIT", "1MiB")
    monkeypatch.setenv("COLUMNS", "120")
    return Shell(monkeypatch, capsys)


def stored(name: str, pictures: int, *, hours: float = 0, bad: int = 0) -> Path:
    with store.Writer(name, f"photos/{name}", (4, 8, 3)) as writer:
        writer.write(memoryview(bytes(96 * pictures)))
        writer.finish([(number, "is empty") for number in range(bad)])
    path = store.folder() / f"{name}.pixels"
    now = time.time()
    os.utime(path, (now, now - 3600 * hours))
    return path


def test_an_empty_cache(shell: Shell, tmp_path: Path) -> None:
    found = shell("cache")
    assert (found.code, found.err) == (0, "")
    assert found.out == f"0 images, 0 B of at most 1.00 MiB in {tmp_path / 'cache' / 'decoded'}\n"
    assert shell("cache", "--clear").out.startswith("removed 0 files, 0 B, from ")
    assert not (tmp_path / "cache").exists()


def test_entries_are_listed_by_their_use(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "decoded"
    stored("valid", 20, hours=0.1)
    stored("train", 1200, hours=50)
    stored("test", 1, hours=1.01)
    (folder / "other.txt").touch()
    (folder / "cut.pixels").write_bytes(b"cut")
    found = shell("cache")
    assert found.out.splitlines()[:4] == [
        "data          images  pixels        size      last used",
        "photos/valid      20     4x8    2.06 KiB  6 minutes ago",
        "photos/test        1     4x8       209 B     1 hour ago",
        "photos/train   1,200     4x8  117.30 KiB     2 days ago",
    ]
    total = f"1,221 images, 119.56 KiB of at most 1.00 MiB in {folder}"
    assert found.out.splitlines()[4:] == [total]


def test_entries_as_json(shell: Shell, tmp_path: Path) -> None:
    path = stored("train", 5, bad=2)
    found = json.loads(shell("cache", "--format", "json").out)
    (entry,) = found["entries"]
    assert found == {
        "folder": str(path.parent),
        "limit": 2**20,
        "size": path.stat().st_size,
        "entries": [entry],
    }
    used = entry.pop("last_used")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", used)
    assert entry == {
        "data": "photos/train",
        "images": 5,
        "pixels": [4, 8],
        "unreadable": 2,
        "size": path.stat().st_size,
        "file": str(path),
    }


def test_it_can_be_cleared(shell: Shell, tmp_path: Path) -> None:
    paths = [stored("train", 5), stored("valid", 5)]
    (paths[0].parent / ".train.abandoned.partial").write_bytes(b"123")
    keep = paths[0].parent / "other.txt"
    keep.touch()
    size = sum(path.stat().st_size for path in paths) + 3
    found = shell("cache", "--clear")
    assert (found.code, found.err) == (0, "")
    assert found.out == f"removed 3 files, {size / 1024:.2f} KiB, from {keep.parent}\n"
    assert list(keep.parent.iterdir()) == [keep]
    stored("train", 5)
    assert json.loads(shell("cache", "--clear", "--format", "json").out) == {
        "folder": str(keep.parent),
        "removed": 1,
        "size": (size - 3) // 2,
    }


def test_used_wrongly(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell("cache", "photos").code == 2
    assert shell("cache", "--format", "yaml").code == 2
    monkeypatch.setenv("SHAPECALC_CACHE_LIMIT", "much")
    found = shell("cache")
    assert (found.code, found.out) == (1, "")
    assert "error[E109]: SHAPECALC_CACHE_LIMIT: 'much' is not an amount of memory" in found.err
    assert "= help: write a number with its unit, such as 8GiB or 500MB" in found.err


def test_the_limit_is_twenty_gibibytes_or_half_of_what_is_free(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHAPECALC_CACHE_LIMIT")
    size = stored("train", 5).stat().st_size
    monkeypatch.setattr(store, "_free", lambda: 2**40)
    assert store.limit() == 20 * 2**30
    monkeypatch.setattr(store, "_free", lambda: 10 * 2**30)
    assert store.limit() == (10 * 2**30 + size) // 2


def test_torch_is_not_needed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['shapecalc', 'cache']; from shapecalc.__main__ import main; "
        "import contextlib\nwith contextlib.suppress(SystemExit): main()\n"
        "assert 'torch' not in sys.modules and 'shapecalc.training.store' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
