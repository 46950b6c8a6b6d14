"""What `solve` found, as text and JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from shapecalc.analysis.knobs import Change
from shapecalc.analysis.memory import in_units
from shapecalc.analysis.solve import Goals, Reached, Search, Solution
from shapecalc.layers.base import times
from shapecalc.report.table import quantity

_NAMED = 5
"""Expressions that are named; of more only the number is told."""


def as_text(search: Search, name: str, width: int = 100) -> str:
    """The goals, and a numbered line for each solution with what comes of it."""
    name = "".join(c if c.isprintable() else " " for c in name)
    lines = _wrapped(f"{name}: {'; '.join(_goals(search.goals, search.today))}", width, "    ")
    if any(not solution.changes for solution in search.solutions):
        return "\n".join([*lines, "nothing to change"])
    if search.solutions:
        lines += _table(search.solutions, search.goals, width)
    else:
        lines.append("no solution was found" + (" in time" if search.was_cut else ""))
        if search.nearest is not None:
            lines.append("the nearest:")
            lines += _table((search.nearest,), search.goals, width)
    if search.was_cut:
        tried = "single changes" if search.depth == 1 else f"{search.depth} changes together"
        text = f"time was up at {tried}: --seconds gives it more, --vary less to try"
        lines += _wrapped(text, width)
    if search.fixed:
        named = ", ".join(search.fixed[:_NAMED])
        more = len(search.fixed) - _NAMED
        more_text = f" and {more} more" if more > 0 else ""
        lines += _wrapped(f"not varied, as expressions give them: {named}{more_text}", width)
    return "\n".join(lines)


def as_json(search: Search, name: str) -> str:
    goals = {key: value for key, value in vars(search.goals).items() if value is not None}
    data = {
        "name": name,
        "goals": goals,
        "today": search.today and _reached(search.today),
        "solutions": [_solution(solution) for solution in search.solutions],
        "nearest": search.nearest and _solution(search.nearest),
        "was_cut": search.was_cut,
        "not_varied": search.fixed,
    }
    return json.dumps(data, indent=2)


def written(solution: Solution, file: str) -> str:
    """What was put into a file."""
    every = (*solution.changes, *solution.follows)
    return "\n".join([f"written to {file}:", *(f"  {said(change)}" for change in every)])


def said(change: Change) -> str:
    """A change in a line: `layers.4: stride 1 -> 2`."""
    if change.path == "width":
        count = len(change.values)
        what = "value" if count == 1 else "values"
        return f"width: {change.new:g} times as wide, {count} {what}"
    old, new = (_value(value, change) for value in (change.old, change.new))
    argument = f"{change.argument} " if change.argument else ""
    notes = [change.note] if change.note else []
    if change.layers > 1:
        notes.append(f"written once for {change.layers} layers")
    note = f" ({'; '.join(notes)})" if notes else ""
    return f"{change.path}: {argument}{old} -> {new}{note}"


def _value(value: Any, change: Change) -> str:
    if isinstance(value, tuple | list):
        return times(value) if change.path == "input" else f"[{', '.join(map(str, value))}]"
    return str(value)


def _goals(goals: Goals, today: Reached | None) -> Iterator[str]:
    """Each goal with the number of today."""
    now = dict.fromkeys(vars(goals), "")
    if today is not None:
        now |= {
            "output": times(today.output),
            "in_features": str(today.in_features),
            "params": f"{today.params:,}",
            "macs": f"{today.macs:,}",
            "receptive_field": str(today.receptive_field),
            "memory": in_units(today.memory or 0),
        }
    wanted = {
        "output": goals.output and times(goals.output),
        "in_features": goals.in_features and str(goals.in_features),
        "params": goals.params is not None and f"at most {goals.params:,}",
        "macs": goals.macs is not None and f"at most {goals.macs:,}",
        "receptive_field": goals.receptive_field and f"at least {goals.receptive_field}",
        "memory": goals.memory is not None and f"at most {in_units(goals.memory)}",
    }
    words = {
        "output": f"{goals.at} gives" if goals.at else "output",
        "in_features": "in-features",
        "params": "params",
        "macs": "MACs",
        "receptive_field": "receptive field",
        "memory": "memory",
    }
    for key, goal in wanted.items():
        if goal:
            yield f"{words[key]} {now[key]}, wanted {goal}" if now[key] else f"{words[key]} {goal}"


def _table(solutions: Iterable[Solution], goals: Goals, width: int) -> list[str]:
    """A row for each solution, a line for each of its changes."""
    rows = []
    for number, solution in enumerate(solutions, 1):
        changes = [said(change) for change in solution.changes]
        changes += [f"{said(change)} (follows)" for change in solution.follows]
        rows.append((f"{number:2}  ", changes, _outcome(solution.reached, goals)))
    longest = max(len(line) for _, changes, _ in rows for line in changes)
    lines = []
    for label, changes, outcome in rows:
        beside = 4 + longest + 2 + len(outcome) <= width
        first, *rest = changes
        lines.append(f"{label}{first:{longest}}  {outcome}" if beside else f"{label}{first}")
        lines += [f"    {line}" for line in rest]
        lines += [] if beside else _wrapped(outcome, width, "      ", "      ")
    return lines


def _outcome(reached: Reached, goals: Goals) -> str:
    """The numbers that come of changes, those of exact goals only where they are not reached."""
    parts = []
    if goals.output is not None and goals.output != reached.output:
        parts.append(times(reached.output))
    if goals.in_features is not None and goals.in_features != reached.in_features:
        parts.append(f"{reached.in_features} in-features")
    parts += [f"{quantity(reached.params)} params", f"{quantity(reached.macs)} MACs"]
    if reached.receptive_field is not None:
        parts.append(f"receptive field {reached.receptive_field}")
    if reached.memory is not None:
        parts.append(in_units(reached.memory))
    return ", ".join(parts)


def _solution(solution: Solution) -> dict[str, Any]:
    return {
        "changes": [_change(change) for change in solution.changes],
        "follows": [_change(change) for change in solution.follows],
        **_reached(solution.reached),
        "size": round(solution.size, 4),
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "path": change.path,
        "argument": change.argument or None,
        "old": change.old,
        "new": change.new,
        "layers": change.layers,
        "values": {".".join(map(str, path)): value for path, value in change.values},
    }


def _reached(reached: Reached) -> dict[str, Any]:
    optional = ("receptive_field", "memory")
    return {k: v for k, v in vars(reached).items() if v is not None or k not in optional}


def _wrapped(text: str, width: int, rest: str = "", first: str = "") -> list[str]:
    return textwrap.wrap(text, max(width, 30), initial_indent=first, subsequent_indent=rest)
