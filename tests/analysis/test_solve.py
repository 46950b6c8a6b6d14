"""Goals reached by few changes: each applied, traced and, for a sample, built; against brute force
on small specs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from clock import within

from shapecalc import Solution, Spec, SpecError, build, load, loads, solve, trace
from shapecalc.analysis.knobs import Change, Selection, Wanted, scaled
from shapecalc.analysis.memory import memory
from shapecalc.analysis.program import Program, last_window, tried
from shapecalc.analysis.solve import Goals, search
from shapecalc.diagnostics import Fault
from shapecalc.language.edit import edited
from shapecalc.language.replace import item_at, replaced

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
APPAREL = SPECS / "apparel.yaml"
SMALL = """\
input: [3, 32, 32]
params: {classes: 10, k: 3}
layers:
  - conv: {out_channels: 8, kernel_size: 3}  # first
  - max_pool: 2
  - conv: {out_channels: 16, kernel_size: "${k}"}
  - relu
  - flatten
  - linear: ${classes}
"""
PLENTY = 60.0
"""Seconds after which a search that is to come to its end would be cut."""


def said(solution: Solution) -> list[str]:
    return [f"{c.path}.{c.argument} {c.old} -> {c.new}" for c in solution.changes]


def features(spec: Spec) -> int | None:
    found = trace(spec).first_linear
    return found[0].input_shape[-1] if found else None


def proven(spec: Spec, solutions: list[Solution], **goals: Any) -> None:
    """Applies each solution to the text of its spec, reads it, traces it and looks at the goals."""
    assert spec.source is not None
    ranks = [(len(s.changes), s.size) for s in solutions]
    assert ranks == sorted(ranks)
    assert len({tuple(said(s)) for s in solutions}) == len(solutions)
    for solution in solutions:
        again = loads(edited(spec.source.text, solution.values))
        traced = trace(again)
        assert (traced.params, traced.macs) == (solution.trace.params, solution.trace.macs)
        assert solution.trace.spec is solution.spec
        assert again == solution.spec
        met(traced, **goals)


def met(
    traced: Any,
    output: Any = None,
    at: Any = None,
    in_features: Any = None,
    params: Any = None,
    macs: Any = None,
    receptive_field: Any = None,
) -> None:
    shapes = {row.path: row.output_shape for row in traced.rows}
    assert output is None or (shapes[at] if at else traced.output_shape) == tuple(output)
    assert in_features is None or traced.first_linear[0].input_shape[-1] == in_features
    assert params is None or traced.params <= params
    assert macs is None or traced.macs <= macs
    window = last_window(traced)
    assert receptive_field is None or window.receptive_field >= receptive_field  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    "goals",
    [
        {"output": (128, 7, 7), "at": "layers.15"},
        {"output": (100, 7, 7), "at": "layers.15"},
        {"output": (10,)},
        {"in_features": 6272},
        {"in_features": 4096},
        {"params": 500_000},
        {"macs": 1_000_000_000},
        {"receptive_field": 224},
        {"in_features": 6272, "params": 560_000},
        {"receptive_field": 200, "macs": 2_000_000_000},
    ],
    ids=str,
)
def test_every_solution_of_the_apparel_network_works(goals: Any) -> None:
    spec = load(APPAREL)
    solutions = solve(spec, **goals, limit=6, seconds=4)
    assert solutions
    proven(spec, solutions, **goals)
    model = build(solutions[0].spec).eval()
    with torch.no_grad():
        made = model(torch.zeros(1, *solutions[0].trace.input_shape))
    assert tuple(made.shape[1:]) == solutions[0].trace.output_shape


def test_the_smallest_change_is_first() -> None:
    first, second, third, *_ = solve(load(APPAREL), output=(128, 7, 7))  # of layers.15
    assert said(first) == ["layers.6.kernel_size 4 -> 5"]
    assert said(second) == ["layers.6.stride 4 -> 5"]
    assert said(third) == ["layers.14.kernel_size 2 -> 3"]


@pytest.mark.parametrize(
    ("name", "goals"),
    [
        ("unet", {"receptive_field": 200}),
        ("unet", {"params": 1_000_000}),
        ("lenet5", {"in_features": 256}),
        ("resnet9", {"params": 3_000_000}),
        ("keywords_1d", {"receptive_field": 500}),
        ("voxels_3d", {"params": 20_000}),
        ("zoo/alexnet", {"macs": 500_000_000}),
        ("zoo/resnet@resnet18", {"macs": 1_500_000_000, "vary": ["input"]}),
        ("zoo/squeezenet@squeezenet1_1", {"params": 1_000_000}),
        ("zoo/densenet@densenet121", {"receptive_field": 3000}),
    ],
)
def test_solutions_for_other_networks(name: str, goals: Any) -> None:
    file, _, variant = name.partition("@")
    path = f"{SPECS / file}.yaml" + (f"@{variant}" if variant else "")
    spec = load(path)
    solutions = solve(spec, **goals, limit=4, seconds=3)
    assert solutions
    goals.pop("vary", None)
    for solution in solutions:
        met(trace(solution.spec), **goals)
        assert trace(replaced(spec, solution.values)).rows == solution.trace.rows


def cases() -> Iterator[tuple[str, Goals]]:
    conv = "conv: {out_channels: 4, kernel_size: 3}"
    shortcut = "residual: {layers: [conv: {out_channels: 4, kernel_size: 1}]}"
    yield f"input: [1, 20, 20]\nlayers: [{conv}, max_pool: 2]", Goals(output=(4, 5, 5))
    yield f"input: [1, 20, 20]\nlayers: [{conv}, {conv}]", Goals(output=(4, 8, 8))
    yield f"input: [1, 20, 12]\nlayers: [{conv}, max_pool: 2]", Goals(output=(4, 9, 6))
    yield f"input: [1, 20, 20]\nlayers: [{conv}, {conv}]", Goals(receptive_field=12)
    yield f"input: [1, 20, 20]\nlayers: [{conv}, {shortcut}, max_pool: 2]", Goals(output=(4, 6, 6))
    repeat = f"repeat: {{times: 2, layers: [{conv}, relu]}}"
    yield f"input: [1, 20, 20]\nlayers: [{repeat}, max_pool: 2]", Goals(output=(4, 4, 4))
    yield f"input: [1, 20, 20]\nlayers: [{repeat}, {repeat}]", Goals(output=(4, 3, 3))
    branches = f"branches: {{layers: [[{conv}], [max_pool: {{kernel_size: 3, stride: 1}}]]}}"
    yield f"input: [1, 20, 20]\nlayers: [{branches}]", Goals(output=(5, 16, 16))
    saved = f"save: s, {conv}, conv: {{out_channels: 4, kernel_size: 3, padding: 2}}, concat: s"
    listed = ", ".join(f"{part}" for part in saved.split(", save"))
    yield f"input: [4, 9, 9]\nlayers: [{listed}, max_pool: 2]", Goals(output=(8, 3, 3))


@pytest.mark.parametrize(("text", "goals"), list(cases()))
def test_as_brute_force_finds_it(text: str, goals: Goals) -> None:
    """All single changes and pairs, each applied to the spec and traced."""
    spec = loads(text)
    base = trace(spec)
    arguments = ["stride", "padding", "dilation" if goals.receptive_field else "kernel_size"]
    arguments = arguments[: 3 if len(base.rows) < 4 else 2]
    selection = Selection(base, ["layers"], arguments)
    vary = [
        f"{site.path}.{argument}"
        for site in selection.sites.values()
        for argument in site.arguments
    ]
    shape, goal = base.input_shape, goals.output or ()
    wanted = Wanted(
        is_square=len(set(shape[1:])) == 1 and len(set(goal[1:])) <= 1,
        channels=goal[0] if goal and goal[0] != base.output_shape[0] else None,
    )
    singles: list[tuple[float, tuple[Change, ...]]] = []
    for site in selection.sites.values():
        site.steps = list(range(len(site.rows)))
        singles += [(move.size, move.changes) for move in site.singles(wanted)]

    def works(changes: tuple[Change, ...]) -> bool:
        try:
            traced = tried(replaced(spec, {p: v for c in changes for p, v in c.values}))
            met(traced, **vars_of(goals))
        except (SpecError, Fault, AssertionError):
            return False
        return True

    found = search(spec, goals, vary=vary, limit=10_000, seconds=PLENTY)
    assert not found.was_cut
    by_hand = {(size, changes) for size, changes in singles if works(changes)}
    ours = {(s.size, s.changes) for s in found.solutions if len(s.changes) == 1}
    best: dict[Any, float] = {}
    for size, changes in by_hand:
        key = (changes[0].path, changes[0].argument)
        best[key] = min(size, best.get(key, size))
    assert {(c[0].path, c[0].argument): size for size, c in ours} == best
    pairs = [
        size + other_size
        for (size, changes), (other_size, others) in combinations(singles, 2)
        if (changes[0].path, changes[0].argument) != (others[0].path, others[0].argument)
        if (size, changes) not in by_hand and (other_size, others) not in by_hand
        if works(changes + others)
    ]
    mine = [s.size for s in found.solutions if len(s.changes) == 2]
    if found.depth >= 2 and (pairs or mine):
        assert min(mine) == pytest.approx(min(pairs))


def vars_of(goals: Goals) -> dict[str, Any]:
    return {key: value for key, value in vars(goals).items() if value is not None}


@pytest.mark.parametrize("name", ["apparel", "unet", "zoo/googlenet", "zoo/mobilenet_v3"])
def test_a_program_gives_what_a_trace_gives(name: str) -> None:
    spec = load(f"{SPECS / name}.yaml")
    traced = trace(spec)
    program = Program(traced, watch=None, fields=True)
    channels, *sizes = traced.input_shape
    for shift in (0, -32, 33, 64):
        shape = (channels, *(size + shift for size in sizes))
        found = program.run(0, len(program.steps), program.start(shape), {})
        try:
            expected = trace(spec.with_input(shape))
        except SpecError:
            assert found is None
            continue
        assert found is not None
        seen = program.seen(found.state)
        assert (found.params, found.macs) == (expected.params, expected.macs)
        assert seen.output == expected.output_shape
        window = last_window(expected)
        assert window is not None
        assert seen.receptive_field == window.receptive_field


class TestWhatVaries:
    def test_only_what_is_named(self) -> None:
        spec = loads(SMALL)
        assert solve(spec, in_features=16 * 15 * 15, vary=["layers.0.kernel_size"]) == []
        solutions = solve(spec, in_features=16 * 14 * 14, vary=["layers.0.padding", "layers.1"])
        assert all(c.path in ("layers.0", "layers.1") for s in solutions for c in s.changes)
        assert said(solutions[0]) == ["layers.1.padding 0 -> 1"]
        proven(spec, solutions, in_features=16 * 14 * 14)

    def test_the_input(self) -> None:
        (solution,) = solve(load(APPAREL), in_features=6272, vary=["input"])
        (change,) = solution.changes
        assert (change.path, change.new) == ("input", (3, 415, 415))
        assert change.values == ((("input", 1), 415), (("input", 2), 415))
        assert features(load(APPAREL).with_input((3, 416, 416))) == 128 * 8 * 8

    def test_the_width_keeps_the_head_and_multiples_of_eight(self) -> None:
        spec = load(APPAREL)
        (solution,) = solve(spec, params=300_000, vary=["width"])
        assert solution.trace.output_shape == (15,)
        (change,) = solution.changes
        assert all(value % 8 == 0 for _, value in change.values)
        assert ("params", "classes") not in dict(change.values)
        proven(spec, [solution], params=300_000)
        for step in range(int(change.new * 64) + 1, 64):  # the next larger ones are above
            paths = [("layers", i, "conv", "out_channels") for i in (0, 1, 4, 5, 8, 9, 12, 13)]
            values = {
                path: scaled(item_at(spec, path[:-1]).out_channels, step / 64) for path in paths
            }
            assert trace(replaced(spec, values)).params > 300_000

    def test_a_param_can_be_the_width(self) -> None:
        spec = load(SPECS / "unet.yaml")
        (solution,) = solve(spec, params=10_000_000, vary=["width"])
        ((path, value),) = solution.values.items()
        assert (path, value) == (("params", "width"), 32)
        proven(spec, [solution], params=10_000_000)

    def test_depthwise_convolutions_keep_a_group_for_each_channel(self) -> None:
        spec = loads(
            "input: [16, 8, 8]\nlayers:\n"
            "  - conv: {out_channels: 32, kernel_size: 1}\n"
            "  - conv: {out_channels: 32, kernel_size: 3, groups: 32}\n"
            "  - conv: {out_channels: 10, kernel_size: 1}\n"
        )
        (solution,) = solve(spec, params=620, vary=["width"])
        (change,) = solution.changes
        assert (("layers", 1, "conv", "groups"), 16) in change.values
        proven(spec, [solution], params=620)

    def test_a_value_that_is_one_param(self) -> None:
        spec = loads(SMALL)
        solutions = solve(spec, in_features=16 * 11 * 11, seconds=PLENTY)
        assert ["params.k. 3 -> 5"] in map(said, solutions)
        proven(spec, solutions, in_features=16 * 11 * 11)
        (solution,) = solve(spec, output=(7,))
        assert said(solution) == ["params.classes. 10 -> 7"]

    def test_other_expressions_stay_and_are_told(self) -> None:
        spec = loads(SMALL.replace('"${k}"', '"${k + 0}"'))
        found = search(spec, Goals(in_features=16 * 11 * 11))
        assert found.fixed == ("layers.2.kernel_size",)
        assert not any(c.path == "params.k" for s in found.solutions for c in s.changes)

    def test_a_layer_of_a_block_is_changed_for_all_its_calls(self) -> None:
        spec = loads(
            "input: [3, 64, 64]\nblocks:\n  down:\n    params: {c: null}\n    layers:\n"
            '      - conv: {out_channels: "${c}", kernel_size: 3, padding: 1}\n'
            "      - max_pool: 2\nlayers:\n  - down: 8\n  - down: 16\n"
        )
        solutions = solve(spec, output=(16, 64, 64), vary=["layers.0.1"])
        assert said(solutions[0]) == ["layers.0.1.kernel_size 2 -> 1"]
        assert solutions[0].changes[0].layers == 2
        proven(spec, solutions, output=(16, 64, 64))

    def test_layers_in_turns_are_tried_together(self) -> None:
        spec = loads(
            "input: [3, 64, 64]\nlayers:\n  - repeat:\n      times: 2\n      layers:\n"
            "        - conv: {out_channels: 8, kernel_size: 3}\n        - max_pool: 2\n"
        )
        solutions = solve(spec, output=(8, 6, 6), limit=3, seconds=PLENTY)
        proven(spec, solutions, output=(8, 6, 6))
        assert solutions

    def test_uneven_goals_vary_each_axis(self) -> None:
        spec = loads("input: [1, 16, 16]\nlayers: [conv: {out_channels: 2, kernel_size: 3}]")
        first, *_ = solutions = solve(spec, output=(2, 14, 7))
        assert said(first) == ["layers.0.stride 1 -> (1, 2)"]
        proven(spec, solutions, output=(2, 14, 7))


class TestClaims:
    TEXT = SMALL.replace("linear: ${classes}", "linear: {in_features: 2704, out_features: 10}")

    def test_a_wrong_one_can_be_made_true(self) -> None:
        spec = loads(self.TEXT.replace("2704", "1936"))
        with pytest.raises(SpecError):
            trace(spec)
        solutions = solve(spec, in_features=1936, limit=3)
        assert not solutions[0].follows
        proven(spec, solutions, in_features=1936)

    def test_one_that_is_right_follows(self) -> None:
        spec = loads(self.TEXT)
        solutions = solve(spec, in_features=1936, limit=3)
        (follows,) = solutions[0].follows
        assert (follows.path, follows.argument, follows.old, follows.new) == (
            *("layers.5", "in_features", 2704, 1936),
        )
        proven(spec, solutions, in_features=1936)


class TestMemory:
    @pytest.mark.parametrize("vary", [(), ("width",), ("batch_size",)])
    def test_it_is_below(self, vary: tuple[str, ...]) -> None:
        spec = load(APPAREL)
        most = 600 * 2**20
        solutions = solve(spec, memory=most, vary=vary)
        assert solutions
        proven(spec, solutions)
        for solution in solutions:
            batch = solution.spec.recipe().batch_size
            assert memory(trace(solution.spec)).peak(batch) <= most
            assert solution.reached.memory == memory(trace(solution.spec)).peak(batch)

    def test_the_batch_is_the_largest_that_fits(self) -> None:
        spec = load(APPAREL)
        (solution,) = solve(spec, memory=600 * 2**20, vary=["batch_size"])
        batch = solution.spec.recipe().batch_size
        assert memory(trace(spec)).peak(batch + 1) > 600 * 2**20


class TestFaults:
    @pytest.mark.parametrize(
        ("goals", "words"),
        [
            ({}, "solve needs a goal"),
            (
                {"output": (128, 7)},
                r"has 2 axes, but the output is \[15\] \(its layers have 1 or 3\)",
            ),
            (
                {"output": (128, 7, 7), "at": "layers.16"},
                r"of layers.16 is \[15488\] \(--at layers.15 has as many, now \[128, 11, 11\]\)",
            ),
            ({"output": (7,), "at": "layers.99"}, r"no such layer \(did you mean layers.9\?\)"),
            ({"params": 5, "at": "layers.1"}, "--at says of which layer"),
            ({"params": 5, "vary": ["layer.3"]}, r"no such layer \(did you mean layers.3\?\)"),
            (
                {"params": 5, "vary": ["layers.0.strid"]},
                r"conv has no strid that can vary \(did you mean layers.0.stride\?\)",
            ),
            ({"params": 5, "vary": ["layers.3.inplace"]}, "nothing of layers.3 can"),
            ({"params": 5, "vary": ["params.clases"]}, r"did you mean params.classes\?"),
            ({"params": 5, "vary": ["batch_size"]}, "no goal but --memory"),
        ],
    )
    def test_goals_and_paths_that_fit_nothing(self, goals: Any, words: str) -> None:
        with pytest.raises(SpecError, match=words):
            solve(load(APPAREL), **goals)

    def test_goals_that_need_what_is_not_there(self) -> None:
        spec = loads("input: [3, 8, 8]\nlayers: [relu]")
        with pytest.raises(SpecError, match="no linear layer comes after a convolution"):
            solve(spec, in_features=3)
        with pytest.raises(SpecError, match="neither convolution nor pool"):
            solve(spec, receptive_field=3)
        with pytest.raises(SpecError, match="no spatial axes"):
            solve(loads("input: [3]\nlayers: [linear: 3]"), params=3, vary=["input"])

    def test_a_spec_that_does_not_work(self) -> None:
        with pytest.raises(SpecError, match="E203"):
            solve(loads("input: [3, 8, 8]\nlayers: [max_pool: 9]"), output=(3, 1, 1))


def test_a_goal_that_is_met_needs_nothing() -> None:
    (solution,) = solve(load(APPAREL), in_features=15488, params=10**9)
    assert (solution.changes, solution.size) == ((), 0)


def test_the_nearest_is_told_where_there_is_no_solution() -> None:
    found = search(loads(SMALL), Goals(in_features=16 * 12 * 12 + 1), vary=["layers.0.padding"])
    assert found.solutions == ()
    assert not found.was_cut
    assert found.nearest is not None
    assert found.nearest.reached.in_features == 2304 + 400 or found.nearest.changes


def test_the_order_is_always_the_same() -> None:
    runs = [
        list(map(said, solve(loads(SMALL), in_features=1600, seconds=PLENTY))) for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_it_stops_when_time_is_up() -> None:
    spec = load(SPECS / "zoo" / "googlenet.yaml")
    with within(3):
        found = search(spec, Goals(in_features=1000), seconds=0.2)
    assert found.was_cut or found.solutions


def test_nothing_of_it_is_loaded_by_show(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom shapecalc.__main__ import main\nmain()\n"
        "print(*[name for name in sys.modules if name.startswith('shapecalc.analysis')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "show", str(APPAREL)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == ""
