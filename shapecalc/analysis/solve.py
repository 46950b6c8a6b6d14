"""Goals for a network, and the smallest changes of its spec that reach them.

One change is tried, then two, then three. Changes of a layer are run through a `Program`, which
knows what the layers behind make of each tensor; so the last of several changes is looked up, not
traced. What is proposed was traced in full.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import inf, log2
from typing import TYPE_CHECKING

from shapecalc.analysis.knobs import (
    ARGUMENTS,
    WIDTHS,
    Change,
    GlobalMove,
    Move,
    Selection,
    Site,
    Wanted,
    batch_move,
    claims,
    input_moves,
    param_moves,
    raised,
    width_moves,
)
from shapecalc.analysis.program import Outcome, Program, State, last_window, tried
from shapecalc.diagnostics import Fault, SpecError, nearest
from shapecalc.language.replace import replaced
from shapecalc.language.source import Origin
from shapecalc.language.spec import Spec
from shapecalc.layers.base import Layer, Shape, show
from shapecalc.tracer import Row, Trace, trace

if TYPE_CHECKING:
    from shapecalc.analysis.memory import Memory

SECONDS = 1.4
"""Of the processor: how long is searched, unless the caller says otherwise."""

LIMIT = 10
MOST_CHANGES = 3


@dataclass(frozen=True)
class Reached:
    """What a network has of what can be a goal."""

    output: Shape
    """Of the network, or of the layer that the goal is for."""
    in_features: int | None
    params: int
    macs: int
    receptive_field: int | None = None
    """Of the last convolution or pool; None where it was not asked for."""
    memory: int | None = None
    """Bytes at the peak of a training step; None where it was not asked for."""


@dataclass(frozen=True)
class Goals:
    """What a network is to come to; None is no goal."""

    output: Shape | None = None
    at: str | None = None
    """The layer whose output is meant; None for the last one whose output has as many axes."""
    in_features: int | None = None
    params: int | None = None
    """At most."""
    macs: int | None = None
    """At most, for one sample."""
    receptive_field: int | None = None
    """At least, for the last convolution or pool."""
    memory: int | None = None
    """At most, in bytes."""

    def missed(self, reached: Reached) -> float:
        """How far off it is, as doublings added up; 0 where all goals are reached."""
        return (
            self.missed_sizes(reached.output, reached.in_features, reached.receptive_field)
            + _above(reached.params, self.params)
            + _above(reached.macs, self.macs)
            + (_above(reached.memory, self.memory) if reached.memory is not None else 0)
        )

    def missed_sizes(
        self, output: Shape | None, in_features: int | None, receptive_field: int | None
    ) -> float:
        """How far off the goals are that follow from shapes alone."""
        far = 0.0
        if self.output is not None and output != self.output:
            if output is None or len(output) != len(self.output):
                return inf
            far += sum(abs(log2(a / b)) for a, b in zip(output, self.output, strict=True))
        if self.in_features is not None and in_features != self.in_features:
            far += abs(log2(in_features / self.in_features)) if in_features else inf
        if self.receptive_field is not None:
            far += _above(self.receptive_field, receptive_field or 1)
        return far


def _above(value: int | None, most: int | None) -> float:
    return 0.0 if value is None or most is None or value <= most else log2(value / most)


@dataclass(frozen=True)
class Solution:
    """Changes of a spec, and what comes of them."""

    changes: tuple[Change, ...]
    follows: tuple[Change, ...]
    """Input sizes that layers claim, which have to be changed along."""
    spec: Spec
    trace: Trace
    reached: Reached
    size: float
    """How large the changes are, as doublings added up."""

    @property
    def values(self) -> dict[Origin, object]:
        """What is to be written where."""
        every = (*self.changes, *self.follows)
        return {path: value for change in every for path, value in change.values}


@dataclass(frozen=True)
class Search:
    """What a search found."""

    goals: Goals
    today: Reached | None
    """None where the spec does not work today but for the sizes that its layers claim."""
    solutions: tuple[Solution, ...]
    """The best first; one without changes where the goals are reached today."""
    nearest: Solution | None
    """What came nearest, where there is no solution."""
    was_cut: bool
    """Whether time was up before all was tried."""
    fixed: tuple[str, ...]
    """Arguments that were left alone because an expression gives them."""
    depth: int
    """The most changes that were tried together."""


def solve(
    spec: Spec,
    *,
    output: Sequence[int] | None = None,
    at: str | None = None,
    in_features: int | None = None,
    params: int | None = None,
    macs: int | None = None,
    receptive_field: int | None = None,
    memory: int | None = None,
    vary: Sequence[str] = (),
    limit: int = LIMIT,
    seconds: float = SECONDS,
) -> list[Solution]:
    """Changes of a spec that reach goals, the smallest first; [] where none were found, and one
    without changes where the goals are reached already.

    `output` is the output's shape, of the layer `at` a path or else of the last that has as many
    axes; `in_features` are those of the first linear layer behind a convolution; `params`, `macs`
    and `memory` (bytes) are the most that is allowed; `receptive_field` is the least that the last
    convolution or pool is to have. `vary` names what may change: paths of layers or of their
    arguments, `input`, `width`, `batch_size`, `params.NAME`.

    Raises SpecError for a goal or a path that does not fit the spec.
    """
    shape = None if output is None else tuple(output)
    goals = Goals(shape, at, in_features, params, macs, receptive_field, memory)
    return list(search(spec, goals, vary=vary, limit=limit, seconds=seconds).solutions)


def search(
    spec: Spec,
    goals: Goals,
    *,
    vary: Sequence[str] = (),
    limit: int = LIMIT,
    seconds: float = SECONDS,
) -> Search:
    """As `solve`, with what came nearest, and whether time was up. Raises SpecError."""
    until = time.process_time() + seconds
    claimed = claims(spec)
    bare = replaced(spec, dict.fromkeys(claimed)) if claimed else spec
    base = trace(bare)
    try:
        _check(goals, vary, base)
        goals = _aimed(goals, base)
        selection = Selection(base, vary or _defaults(goals), _arguments(goals))
    except Fault as fault:
        raise raised(fault) from None
    prover = _Prover(spec, bare, claimed, goals)
    today = prover.solution((), 0.0)
    if today is not None and goals.missed(today.reached) == 0:
        fixed = tuple(selection.fixed)
        return Search(goals, today.reached, (today,), None, False, fixed, 0)
    hunt = _Hunt(goals, selection, prover, until)
    found: list[Solution] = []
    depth = 0
    for depth in range(1, MOST_CHANGES + 1):
        if depth == MOST_CHANGES and found:
            break
        hunt.look(depth)
        found = prover.proven(hunt.found, limit)
        if len(found) >= limit or hunt.is_late():
            break
    closest = None
    if not found and hunt.nearest is not None:
        closest = prover.solution(hunt.nearest[3], hunt.nearest[2])
    was = reached(base, goals)
    return Search(
        goals,
        was,
        tuple(found),
        closest,
        hunt.was_cut,
        tuple(dict.fromkeys(selection.fixed)),
        depth,
    )


def reached(traced: Trace, goals: Goals) -> Reached:
    """What a network has of the goals."""
    linear = traced.first_linear
    window = last_window(traced)
    shapes = (row.output_shape for row in traced.rows if row.path == goals.at)
    return Reached(
        next(shapes, traced.output_shape) if goals.at else traced.output_shape,
        linear[0].input_shape[-1] if linear else None,
        traced.params,
        traced.macs,
        window.receptive_field if window and goals.receptive_field is not None else None,
        peak(traced) if goals.memory is not None else None,
    )


def peak(traced: Trace) -> int:
    """Bytes at the peak of a training step with the settings of the spec; `auto` counts as fp32.
    Raises SpecError."""
    return footprint(traced).peak(traced.spec.recipe().batch_size)


def footprint(traced: Trace) -> Memory:
    """The memory of a training step. Raises SpecError."""
    from shapecalc.analysis.memory import memory

    recipe = traced.spec.recipe()
    precision = "fp32" if recipe.precision == "auto" else recipe.precision
    try:
        return memory(
            traced,
            optimizer=recipe.optimizer,
            precision=precision,
            accumulate=recipe.accumulate,
        )
    except Fault as fault:
        raise raised(fault) from None


def _arguments(goals: Goals) -> tuple[str, ...]:
    """What varies of a layer that is named without an argument."""
    arguments = [name for name in ARGUMENTS if name != "dilation" or goals.receptive_field]
    return (*arguments, *(WIDTHS if goals.output or goals.in_features else ()))


def _defaults(goals: Goals) -> tuple[str, ...]:
    """What varies unless it is said."""
    if goals.memory is not None:
        return "batch_size", "width"
    is_costly = goals.params is not None or goals.macs is not None
    return ("layers", "width") if is_costly else ("layers",)


def _check(goals: Goals, vary: Sequence[str], base: Trace) -> None:
    """Raises Fault for a goal that no change can reach."""
    if not any(
        getattr(goals, name) is not None
        for name in ("output", "in_features", "params", "macs", "receptive_field", "memory")
    ):
        raise Fault("E109", "solve needs a goal", help="such as --output 128x7x7 or --params 5M")
    rows = {row.path: row for row in base.rows}
    if goals.at is not None and goals.at not in rows:
        close = nearest(goals.at, rows)
        help = f"did you mean {close}?" if close else "`shapecalc show` lists the paths"
        raise Fault("E109", f"--at {goals.at}: the spec has no such layer", help=help)
    if goals.at is not None and goals.output is None:
        raise Fault("E109", "--at says of which layer --output is meant, which is not given")
    if goals.in_features is not None and base.first_linear is None:
        raise Fault("E109", "--in-features: no linear layer comes after a convolution")
    if goals.memory is None and "batch_size" in {name.removeprefix("train.") for name in vary}:
        raise Fault("E109", "--vary batch_size: no goal but --memory depends on it")
    if goals.receptive_field is not None and last_window(base) is None:
        raise Fault("E109", "--receptive-field: the spec has neither convolution nor pool")


def _aimed(goals: Goals, base: Trace) -> Goals:
    """Goals with the layer whose output is meant: the network's own, where that has as many axes as
    the goal, else the last layer's that has. Raises Fault where there is none."""
    goal = goals.output
    if goal is None:
        return goals
    rows = {row.path: row for row in base.leaves if len(row.output_shape) == len(goal)}
    shape = base.output_shape
    if goals.at is not None:
        shape = next(row.output_shape for row in base.rows if row.path == goals.at)
    if len(shape) == len(goal):
        return goals
    last = next(reversed(rows), None)
    if last is not None and goals.at is None:
        return replace(goals, at=last)
    whose = f"the output of {goals.at}" if goals.at else "the output"
    raise Fault(
        "E109",
        f"--output {'x'.join(map(str, goal))} has {len(goal)} "
        f"{'axis' if len(goal) == 1 else 'axes'}, but {whose} is {show(shape)}",
        help=f"--at {last} has as many, now {show(rows[last].output_shape)}"
        if last
        else "its layers have "
        + " or ".join(sorted({f"{len(row.output_shape)}" for row in base.leaves})),
    )


class _Prover:
    """Applies changes to the spec and traces what comes out."""

    def __init__(self, spec: Spec, bare: Spec, claimed: dict[Origin, int], goals: Goals) -> None:
        self.spec, self.bare, self.claimed, self.goals = spec, bare, claimed, goals
        """`bare` is the spec without the input sizes that its layers claim."""

    def solution(self, changes: tuple[Change, ...], size: float) -> Solution | None:
        """The spec with changes, traced; None where it does not work."""
        values = {path: value for change in changes for path, value in change.values}
        try:
            traced = tried(replaced(self.bare, values))
            follows = self._follows(traced) if self.claimed else ()
            spec = replaced(self.spec, values)
            spec = replaced(spec, {path: new for change in follows for path, new in change.values})
            traced = tried(spec) if self.claimed else traced._replace(spec=spec)
        except (Fault, SpecError):
            return None
        return Solution(changes, follows, spec, traced, reached(traced, self.goals), size)

    def _follows(self, traced: Trace) -> tuple[Change, ...]:
        """The claims that are no longer true."""
        found: list[Change] = []
        for row in traced.leaves:
            for name in ("in_channels", "in_features", "num_features", "num_channels"):
                path = (*row.at.origin, name)
                if path in self.claimed and path not in {c.values[0][0] for c in found}:
                    old, new = self.claimed[path], row.arguments[name]
                    if old != new:
                        found.append(Change(row.path, name, old, new, ((path, new),)))
        return tuple(found)

    def proven(self, found: list[_Found], limit: int) -> list[Solution]:
        """The best of what was found, each traced; of changes of the same values only the best,
        and none with a change more than another needs."""
        kept: list[Solution] = []
        varied: set[frozenset[tuple[str, str]]] = set()
        for size, _, _, changes in sorted(found, key=lambda f: (len(f[3]), *f[:3])):
            what = frozenset((change.path, change.argument) for change in changes)
            if what in varied or any(set(s.changes) <= set(changes) for s in kept):
                continue
            solution = self.solution(changes, size)
            if solution is None or self.goals.missed(solution.reached) > 0:
                continue
            varied.add(what)
            kept.append(solution)
            if len(kept) == limit:
                break
        return kept


_Found = tuple[float, int, int, tuple[Change, ...]]
"""Size of the changes, MACs that come of them, a number that keeps the order, the changes."""


class _Hunt:
    """The search: what was found so far, what came nearest, and the time."""

    def __init__(self, goals: Goals, selection: Selection, prover: _Prover, until: float) -> None:
        self.goals, self.selection, self.prover, self.until = goals, selection, prover, until
        self.base = selection.trace
        self.found: list[_Found] = []
        self.nearest: tuple[float, int, float, tuple[Change, ...]] | None = None
        self.was_cut = False
        shape = self.base.input_shape[1:]
        now = reached(self.base, replace(goals, memory=None))
        goal = goals.output or ()
        self.wanted = Wanted(
            is_square=len(set(shape)) <= 1 and len(set(goal[1:])) <= 1,
            channels=goal[0] if goal and now.output[0] != goal[0] else None,
            features=goals.in_features,
            is_costly=goals.params is not None or goals.macs is not None,
        )

    def is_late(self) -> bool:
        if time.process_time() > self.until:
            self.was_cut = True
        return self.was_cut

    def look(self, depth: int) -> None:
        """Try all that can be done with a number of changes."""
        knobs = self.selection.globals
        coarse = depth > 1 or self.goals.memory is not None
        for taken in range(min(depth, 2, len(knobs)) + 1):
            for chosen in combinations(knobs, taken):
                for moves in self._together(chosen, self.base, coarse=coarse):
                    if self.is_late():
                        return
                    self._look_with(moves, depth - taken)

    def _together(
        self, knobs: Sequence[str], base: Trace, *, coarse: bool
    ) -> Iterator[tuple[GlobalMove, ...]]:
        """Moves of several knobs at once; a batch size comes last, as it follows from the rest."""
        if not knobs:
            yield ()
            return
        first, *rest = sorted(knobs, key=lambda knob: knob == "batch_size")
        for move in sorted(self._moves(first, base, coarse=coarse), key=lambda move: move.size):
            if not rest:
                yield (move,)
                continue
            try:
                after = tried(replaced(self.prover.bare, dict(move.change.values)))
            except (Fault, SpecError):
                continue
            others = self._moves(rest[0], after, coarse=coarse)
            for other in sorted(others, key=lambda move: move.size):
                yield move, other

    def _moves(self, knob: str, base: Trace, *, coarse: bool) -> list[GlobalMove]:
        if knob == "input":
            return input_moves(base.input_shape, self.wanted, coarse=coarse)
        if knob == "width":
            return width_moves(base, coarse=coarse)
        if knob == "batch_size":
            now = base.spec.recipe().batch_size
            most = footprint(base).largest_batch(self.goals.memory or 0)
            return [batch_move(now, min(max(most, 1), now - 1))] if now > 1 else []
        name = knob.removeprefix("params.")
        is_width = self.selection.is_width.get(name, False)
        values = self.wanted.widths(base.spec.params[name]) if is_width else None
        return param_moves(base.spec, name, values)

    def _look_with(self, moves: tuple[GlobalMove, ...], depth: int) -> None:
        """Try changes of layers after changes of the whole."""
        changes = tuple(move.change for move in moves)
        size = sum(move.size for move in moves)
        if any(move.knob != "input" for move in moves):
            made = self.prover.solution(changes, size)
            if made is None:
                return
            if not depth:
                self._offer_made(made, size)
                return
            values = {path: value for change in changes for path, value in change.values}
            base = tried(replaced(self.prover.bare, values))
        else:
            base = self.base
        local = self._local(base, changes)
        shapes = [move.change.new for move in moves if move.knob == "input"]
        local.look(shapes[0] if shapes else base.input_shape, changes, size, depth)

    def _local(self, base: Trace, changes: tuple[Change, ...]) -> _Local:
        if base is not self.base:
            return _Local(self, base)
        if not hasattr(self, "_first"):
            self._first = _Local(self, base)
        return self._first

    def _offer_made(self, made: Solution, size: float) -> None:
        self.offer(self.goals.missed(made.reached), size, made.reached.macs, made.changes)

    def offer(self, missed: float, size: float, macs: int, changes: tuple[Change, ...]) -> None:
        """Take note of changes, by how far from the goals they are."""
        if self.goals.memory is not None and not missed:
            made = self.prover.solution(changes, size)
            missed = self.goals.missed(made.reached) if made else inf
        if missed == 0:
            if len(self.found) < 200_000:
                self.found.append((size, macs, len(self.found), changes))
        elif not self.found:
            near = missed, len(changes), size
            if self.nearest is None or near < self.nearest[:3]:
                self.nearest = *near, changes


_Last = tuple[float, int, Move, int, int]
"""How far the sizes are from the goals; the order; a move, and params and MACs from there on."""


class _Local:
    """The search over changes of layers, in one program."""

    def __init__(self, hunt: _Hunt, base: Trace) -> None:
        self.hunt, self.goals = hunt, hunt.goals
        self.program = Program(
            base, watch=self.goals.at, fields=self.goals.receptive_field is not None
        )
        self.end = len(self.program.steps)
        places = self.program.places
        self.sites: list[Site] = []
        rows: dict[Origin, list[Row]] = {}
        for row in base.leaves:
            rows.setdefault(row.at.origin, []).append(row)
        for origin, site in hunt.selection.sites.items():
            if origin in places:
                found = Site(site.path, origin, rows[origin], places[origin], site.arguments)
                self.sites.append(found)
        self.sites.sort(key=lambda site: site.first)
        if not hunt.wanted.is_costly:
            self._drop_idle_widths()
        self._moves: dict[tuple[int, int], list[Move]] = {}
        self._lasts: dict[tuple[int, int, State], tuple[list[_Last], _Last | None]] = {}

    def _drop_idle_widths(self) -> None:
        """Leave channels alone that are mixed away before the goals are met: as sizes do not
        depend on channels, no change of others makes them matter."""
        start = self.program.start()
        today = self.program.run(0, self.end, start, {})
        assert today is not None
        for site in self.sites:
            for argument in set(WIDTHS) & set(site.arguments):
                twice = site.changed({argument: 2 * site.old(argument)})
                found = self.program.run(0, self.end, start, twice)
                if found and self.program.seen(found.state) == self.program.seen(today.state):
                    site.arguments = [name for name in site.arguments if name != argument]

    def moves(self, site: int, weight: int) -> list[Move]:
        """The moves of a site with a number of changes, the smallest first."""
        if (site, weight) not in self._moves:
            at, wanted = self.sites[site], self.hunt.wanted
            found = at.singles(wanted) if weight == 1 else at.doubles(wanted)
            known = [move for move in found if len(move.layers) == len(at.steps)]
            self._moves[site, weight] = sorted(known, key=lambda move: move.size)
        return self._moves[site, weight]

    def look(self, shape: Shape, changes: tuple[Change, ...], size: float, depth: int) -> None:
        """Try all that can be done with a number of changes of layers, on top of others."""
        start = self.program.start(shape)
        if depth == 0:
            self._offer_end(self.program.run(0, self.end, start, {}), changes, size)
            return
        for last in (1, 2):
            if last <= depth and depth - last <= 2:
                for moves, sites in self._before(depth - last):
                    if self.hunt.is_late():
                        return
                    before = size + sum(move.size for move in moves)
                    all_changes = changes + tuple(c for move in moves for c in move.changes)
                    self._finish(start, moves, sites, last, all_changes, before)

    def _before(self, weight: int) -> Iterator[tuple[tuple[Move, ...], tuple[int, ...]]]:
        """What is done before the last move, the smallest first."""
        if weight == 0:
            yield (), ()
            return
        numbers = range(len(self.sites))
        found = [((move,), (n,)) for n in numbers for move in self.moves(n, weight)]
        if weight == 2:
            found += [
                ((first, second), (a, b))  # type: ignore[misc]
                for a, b in combinations(numbers, 2)
                for first in self.moves(a, 1)
                for second in self.moves(b, 1)
            ]
        yield from sorted(found, key=lambda f: sum(move.size for move in f[0]))

    def _finish(
        self,
        start: State,
        moves: tuple[Move, ...],
        sites: tuple[int, ...],
        weight: int,
        changes: tuple[Change, ...],
        size: float,
    ) -> None:
        """Try every last move behind those that are given."""
        program = self.program
        layers = {step: layer for move in moves for step, layer in move.layers.items()}
        end = max(layers, default=-1) + 1
        before = program.run(0, end, start, layers)
        if before is None:
            return
        at, state, params, macs = end, before.state, before.params, before.macs
        for number in range(max(sites, default=-1) + 1, len(self.sites)):
            site = self.sites[number]
            if site.first < end:  # the two take turns: nothing can be looked up
                self._finish_mixed(start, layers, number, weight, changes, size)
                continue
            onward = program.stretch(at, site.first, state)
            if onward is None:
                return
            at, state = site.first, onward.state
            params, macs = params + onward.params, macs + onward.macs
            met, closest = self._last(number, weight, state)
            for far, _, move, more_params, more_macs in met:
                self._offer(far, params + more_params, macs + more_macs, changes, size, move)
            if closest is not None and not self.hunt.found:
                far, _, move, more_params, more_macs = closest
                self._offer(far, params + more_params, macs + more_macs, changes, size, move)

    def _last(self, number: int, weight: int, state: State) -> tuple[list[_Last], _Last | None]:
        """The moves of a site that reach the goals for shapes from a state on, and that which
        comes nearest."""
        key = number, weight, state
        if key not in self._lasts:
            begin = self.sites[number].first
            every: list[_Last] = []
            for order, move in enumerate(self.moves(number, weight)):
                found = self.program.run(begin, self.end, state, move.layers)
                if found is not None:
                    far = self._missed(found)
                    every.append((far, order, move, found.params, found.macs))
            met = [last for last in every if last[0] == 0]
            closest = min((last for last in every if last[0]), key=lambda l: l[:2], default=None)  # noqa: E741
            self._lasts[key] = met, closest
        return self._lasts[key]

    def _finish_mixed(
        self,
        start: State,
        layers: dict[int, Layer],
        number: int,
        weight: int,
        changes: tuple[Change, ...],
        size: float,
    ) -> None:
        for move in self.moves(number, weight):
            if self.hunt.is_late():
                return
            both = {**layers, **move.layers}
            found = self.program.run(0, self.end, start, both)
            if found is not None:
                far = self._missed(found)
                self._offer(far, found.params, found.macs, changes, size, move)

    def _missed(self, found: Outcome) -> float:
        seen = self.program.seen(found.state)
        return self.goals.missed_sizes(seen.output, seen.in_features, seen.receptive_field)

    def _offer(
        self,
        far: float,
        params: int,
        macs: int,
        changes: tuple[Change, ...],
        size: float,
        move: Move,
    ) -> None:
        far += _above(params, self.goals.params) + _above(macs, self.goals.macs)
        if far == 0 or not self.hunt.found:
            self.hunt.offer(far, size + move.size, macs, changes + move.changes)

    def _offer_end(self, found: Outcome | None, changes: tuple[Change, ...], size: float) -> None:
        if found is None:
            return
        far = self._missed(found)
        far += _above(found.params, self.goals.params) + _above(found.macs, self.goals.macs)
        self.hunt.offer(far, size, found.macs, changes)
