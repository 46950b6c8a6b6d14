"""The whole report of every code, plain and coloured, as kept in `golden`.

`python tests/report/test_codes.py` writes them anew; look at what changed.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from training_fixtures import HEAD, PLAIN, photographs, spec

import shapecalc
from shapecalc import Diagnostic, ShapecalcError, load, loads, trace
from shapecalc.analysis.check import check
from shapecalc.analysis.explain import page, reports
from shapecalc.builder import layers, network
from shapecalc.builder.verify import verify
from shapecalc.diagnostics import CODES
from shapecalc.export.file import write as export
from shapecalc.report.diagnostics import render
from shapecalc.training.lr_find import Sweep

GOLDEN = Path(__file__).parent / "golden"
SMALL = "input: [3, 8, 8]\nlayers:\n  - conv: {out_channels: 4, kernel_size: 3}\n"


def no_such_file() -> None:
    Path("apparel.yaml").write_text(SMALL)
    load("aparel.yaml")


def no_such_param() -> None:
    loads(f"params: {{classes: 3}}\n{SMALL}", overrides={"params.clases": "4"})


def too_many_params() -> None:
    found = check(loads(SMALL, file="small.yaml"), max_params=100)
    raise shapecalc.SpecError(d for d in found if d.severity == "error")


def another_padding() -> None:
    right = layers.BUILDERS["conv"]
    try:
        layers.BUILDERS["conv"] = lambda row: _padded(right(row))
        verify(trace(loads(SMALL, file="small.yaml")))
    finally:
        layers.BUILDERS["conv"] = right


def _padded(module: layers.nn.Module) -> layers.nn.Module:
    module.padding = (1, 1)
    return module


def more_than_memory() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "available_memory", lambda: 2**33)
        text = "input: [3, 8, 8]\nlayers:\n  - flatten\n  - linear: 1000000000\n"
        shapecalc.build(trace(loads(text, file="large.yaml")))


def no_such_folder() -> None:
    shapecalc.train(spec(Path("data")), out="run")


def an_empty_class() -> None:
    photographs(Path("data"), ["blue", "red"])
    Path("data/train/green").mkdir()
    Path("data/valid/green").mkdir()
    no_such_folder()


def other_classes() -> None:
    photographs(Path("data"), ["blue", "red"])
    Path("data/valid/red").rename("data/valid/pink")
    no_such_folder()


def a_picture_that_is_cut_off() -> None:
    path = photographs(Path("data"), ["blue", "red"]) / "train" / "red" / "00.jpg"
    path.write_bytes(b"")
    no_such_folder()


def no_such_loss() -> None:
    photographs(Path("data"), ["blue", "red"])
    shapecalc.train(spec(Path("data"), loss="cross_entrpy"), out="run")


def no_such_run() -> None:
    shapecalc.load_run("run")


def a_folder_in_use() -> None:
    photographs(Path("data"), ["blue", "red"])
    Path("run").mkdir()
    Path("run/mine.txt").write_text("mine")
    no_such_folder()


def steps_too_large() -> None:
    photographs(Path("data"), ["blue", "red"])
    given = spec(Path("data"), optimizer={"sgd": {"lr": 1e30}}, layers=(*PLAIN, HEAD))
    shapecalc.train(given, out="run")


def nothing_learned() -> None:
    Sweep((1e-9, 1e-8, 1e-7), (2.3, 2.3, 2.3)).expect_suggestion()


def a_file_that_is_there() -> None:
    Path("small.py").write_text("mine")
    export(loads(f"name: small\n{SMALL}"), "python")


WAYS: dict[str, Callable[[], object]] = {
    "E100": no_such_file,
    "E109": no_such_param,
    "E206": too_many_params,
    "E301": another_padding,
    "E302": more_than_memory,
    "E401": no_such_folder,
    "E402": an_empty_class,
    "E403": other_classes,
    "E404": a_picture_that_is_cut_off,
    "E501": no_such_loss,
    "E502": no_such_run,
    "E503": a_folder_in_use,
    "E504": steps_too_large,
    "E505": nothing_learned,
    "E601": a_file_that_is_there,
}
"""How the codes come about that no spec alone has; the others' specs are on their pages."""


def told(code: str) -> Iterable[Diagnostic]:
    """What is told where a code comes up."""
    if code not in WAYS:
        return reports(page(code))
    try:
        WAYS[code]()
    except ShapecalcError as error:
        here = str(Path.cwd())
        return [d._replace(help=d.help.replace(here, "/home/me")) for d in error.diagnostics]
    raise AssertionError(f"{code} does not come up")


@pytest.mark.parametrize("code", CODES)
def test_whole_report(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = list(told(code))
    assert {d.code for d in found} == {code}
    plain, coloured = render(found, width=100), render(found, width=100, color=True)
    assert plain + "\n" == (GOLDEN / f"{code}.txt").read_text()
    assert coloured + "\n" == (GOLDEN / f"{code}.ansi").read_text()
    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == plain


def test_none_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CODES)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for code in CODES:
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            found = list(told(code))
        for ending, color in (("txt", False), ("ansi", True)):
            text = render(found, width=100, color=color)
            (GOLDEN / f"{code}.{ending}").write_text(f"{text}\n")
