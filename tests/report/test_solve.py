"""What solve found, as text and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from shapecalc import loads, trace
from shapecalc.analysis.knobs import Change
from shapecalc.analysis.solve import Goals, Reached, Search, Solution
from shapecalc.report.solve import as_json, as_text, said, written

SPEC = loads("name: small\ninput: [3, 32, 32]\nlayers: [relu]")
TODAY = Reached((128, 11, 11), 15488, 729_279, 2_297_339_616)
AFTER = Reached((128, 7, 7), 6272, 591_039, 2_041_000_000)
STRIDE = Change("layers.4", "stride", 1, 2, ((("layers", 4, "conv", "stride"), 2),))
POOL = Change("layers.6", "kernel_size", 4, 5, ((("layers", 6, "max_pool", "kernel_size"), 5),),
              3, "and with it the stride")  # fmt: skip
CLAIM = Change("layers.9", "in_features", 8, 4, ((("layers", 9, "linear", "in_features"), 4),))
WIDTH = Change("width", "", 1, 0.75, ((("layers", 0, "conv", "out_channels"), 24),))
INPUT = Change("input", "", (3, 512, 512), (3, 415, 512), ((("input", 1), 415),))
GOALS = Goals(output=(128, 7, 7), at="layers.15")


def solution(*changes: Change, follows: Any = (), reached: Reached = AFTER) -> Solution:
    return Solution(changes, follows, SPEC, trace(SPEC), reached, 1.0)


def found(*solutions: Solution, **more: Any) -> Search:
    return replace(Search(GOALS, TODAY, solutions, None, False, (), 1), **more)


def test_solutions_are_numbered_with_a_line_for_each_change() -> None:
    search = found(solution(POOL), solution(STRIDE, WIDTH, follows=(CLAIM,)))
    assert as_text(search, "small\033", 120) == (
        "small : layers.15 gives 128x11x11, wanted 128x7x7\n"
        " 1  layers.6: kernel_size 4 -> 5 (and with it the stride; written once for 3 layers)"
        "  591.04 k params, 2.04 G MACs\n"
        f" 2  {'layers.4: stride 1 -> 2':80}  591.04 k params, 2.04 G MACs\n"
        "    width: 0.75 times as wide, 1 value\n"
        "    layers.9: in_features 8 -> 4 (follows)"
    )


def test_numbers_go_below_where_the_line_is_short() -> None:
    assert as_text(found(solution(STRIDE)), "small", 40).splitlines() == [
        "small: layers.15 gives 128x11x11, wanted",
        "    128x7x7",
        " 1  layers.4: stride 1 -> 2",
        "      591.04 k params, 2.04 G MACs",
    ]


def test_all_goals() -> None:
    today = replace(TODAY, receptive_field=192, memory=2**30)
    reached = replace(AFTER, receptive_field=224, memory=2**29)
    goals = Goals((15,), None, 6272, 600_000, 10**9, 224, 600 * 2**20)
    search = found(solution(STRIDE, reached=reached), goals=goals, today=today)
    assert as_text(search, "small", 300) == (
        "small: output 128x11x11, wanted 15; in-features 15488, wanted 6272; params 729,279, "
        "wanted at most 600,000; MACs 2,297,339,616, wanted at most 1,000,000,000; "
        "receptive field 192, "
        "wanted at least 224; memory 1.00 GiB, wanted at most 600.00 MiB\n"
        " 1  layers.4: stride 1 -> 2  128x7x7, 591.04 k params, 2.04 G MACs, receptive field 224, "
        "512.00 MiB"
    )


def test_nothing_to_change() -> None:
    assert as_text(found(solution()), "small").splitlines()[1:] == ["nothing to change"]


def test_no_solution_and_what_came_nearest() -> None:
    reached = replace(AFTER, output=(128, 8, 8))
    search = found(nearest=solution(INPUT, reached=reached), depth=3)
    assert as_text(search, "small").splitlines()[1:] == [
        "no solution was found",
        "the nearest:",
        " 1  input: 3x512x512 -> 3x415x512  128x8x8, 591.04 k params, 2.04 G MACs",
    ]


def test_time_was_up_and_what_was_not_varied() -> None:
    fixed = tuple(f"layers.{n}.stride" for n in range(7))
    search = found(was_cut=True, depth=2, fixed=fixed)
    assert as_text(search, "small", 200).splitlines()[1:] == [
        "no solution was found in time",
        "time was up at 2 changes together: --seconds gives it more, --vary less to try",
        "not varied, as expressions give them: layers.0.stride, layers.1.stride, layers.2.stride, "
        "layers.3.stride, layers.4.stride and 2 more",
    ]


def test_what_was_written() -> None:
    assert written(solution(STRIDE, INPUT, follows=(CLAIM,)), "a.yaml") == (
        "written to a.yaml:\n  layers.4: stride 1 -> 2\n  input: 3x512x512 -> 3x415x512\n"
        "  layers.9: in_features 8 -> 4"
    )
    assert said(replace(STRIDE, old=1, new=(1, 2))) == "layers.4: stride 1 -> [1, 2]"


def test_json() -> None:
    data = json.loads(as_json(found(solution(STRIDE)), "small"))
    assert data == {
        "name": "small",
        "goals": {"output": [128, 7, 7], "at": "layers.15"},
        "today": {
            "output": [128, 11, 11],
            "in_features": 15488,
            "params": 729_279,
            "macs": 2_297_339_616,
        },
        "solutions": [
            {
                "changes": [
                    {
                        "path": "layers.4",
                        "argument": "stride",
                        "old": 1,
                        "new": 2,
                        "layers": 1,
                        "values": {"layers.4.conv.stride": 2},
                    }
                ],
                "follows": [],
                "output": [128, 7, 7],
                "in_features": 6272,
                "params": 591_039,
                "macs": 2_041_000_000,
                "size": 1.0,
            }
        ],
        "nearest": None,
        "was_cut": False,
        "not_varied": [],
    }
