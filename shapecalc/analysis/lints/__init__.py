"""Lints: what works, but hardly as it was meant. One rule a file, named for what it finds.

A rule has a code, a docstring that says what it finds and why that matters, a spec that it finds
something in and one that it does not, and a function over its Graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from shapecalc.analysis.graph import Graph
from shapecalc.analysis.lints import (
    bias_before_norm,
    dropout_before_batch_norm,
    dropped_pixels,
    inplace_shared,
    linear_on_linear,
    most_of_the_params,
    narrow_view,
    no_effect,
    odd_channels,
    outputs_not_classes,
    padding_of_zeros,
    single_value_batch_norm,
    skipped_pixels,
    softmax_before_cross_entropy,
    unflattened_linear,
)
from shapecalc.analysis.lints.finding import Finding
from shapecalc.diagnostics import Diagnostic, Fault
from shapecalc.language.faults import locate
from shapecalc.tracer import Row, Trace


class Rule(Protocol):
    """What the module of a rule has."""

    __doc__: str | None
    __name__: str
    CODE: str
    BAD: str
    GOOD: str

    def find(self, graph: Graph) -> Iterator[Finding]:
        """What the rule finds in a network."""


RULES: tuple[Rule, ...] = (
    linear_on_linear,
    softmax_before_cross_entropy,
    bias_before_norm,
    dropped_pixels,
    skipped_pixels,
    padding_of_zeros,
    unflattened_linear,
    most_of_the_params,
    narrow_view,
    outputs_not_classes,
    single_value_batch_norm,
    odd_channels,
    dropout_before_batch_norm,
    no_effect,
    inplace_shared,
)
"""All rules, in the order of their codes."""


def lints(trace: Trace) -> list[Diagnostic]:
    """All lints of a network but those that it allows; of one line of the spec, each code once."""
    graph = Graph(trace)
    everywhere = codes(trace.spec.allow)
    found: list[Diagnostic] = []
    for rule in RULES:
        if rule.CODE in everywhere:
            continue
        by_origin: dict[object, list[Finding]] = {}
        for finding in rule.find(graph):
            if not _allowed(rule.CODE, finding.row, graph):
                origin = graph.rows[finding.row].at.origin
                by_origin.setdefault((origin, finding.argument), []).append(finding)
        found += (_diagnostic(rule.CODE, of, graph.rows) for of in by_origin.values())
    return found


def codes(allow: object) -> tuple[str, ...]:
    """The codes that `allow` names."""
    return (allow,) if isinstance(allow, str) else tuple(allow or ())  # type: ignore[arg-type]


def _allowed(code: str, row: int, graph: Graph) -> bool:
    """Whether a layer or a container around it allows a code."""
    while row >= 0:
        if code in codes(graph.rows[row].layer.allow):
            return True
        row = graph.parents[row]
    return False


def _diagnostic(code: str, findings: list[Finding], rows: tuple[Row, ...]) -> Diagnostic:
    """The first finding of a line of the spec, and how many more there are."""
    first, *more = findings
    row = rows[first.row]
    message = first.message
    if more:
        message += f"; the same line makes {len(more)} more of these"
    fault = Fault(code, message, argument=first.argument, note=first.note, help=first.help)
    found = locate(fault, row.source, row.at.origin, path=row.path, way=row.at.way)
    return found._replace(severity="warning")
