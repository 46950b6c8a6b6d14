"""Other ways to the same numbers: steps of a network rewritten so that they cost less.

Each rewrite is exact: but for rounding, outputs, losses, gradients and so all that is learned are
those of the network as it is written, whose parameters and state stay what they are. Where it pays
is counted from the Trace, so the same spec and recipe are always rewritten in the same way.

A rewrite is one file with a function that looks at the last of the steps so far, and puts others in
the place of some of them. Which module carries out a step is for `builder.rewrites` to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from shapecalc.analysis.flow import Flow, flow
from shapecalc.analysis.rewrites import (
    average_first,
    batch_norm,
    compose,
    normalize,
    pool_first,
    small_indices,
    stem,
)
from shapecalc.analysis.rewrites.draft import Draft, Found, Target
from shapecalc.language.recipe import Rewrite
from shapecalc.tracer import Trace

Names = Literal["auto"] | tuple[Rewrite, ...]


class Rule(Protocol):
    """What the module of a rewrite has."""

    __doc__: str | None
    SAID: str
    """What it does at {places}, in the words of one who does it."""

    def rewrite(self, draft: Draft) -> Found | None:
        """What takes the place of the last of a draft's steps, where it pays."""


RULES: dict[Rewrite, Rule] = {
    "batch_norm": batch_norm,
    "average_first": average_first,
    "compose": compose,
    "normalize": normalize,
    "pool_first": pool_first,
    "stem": stem,
    "small_indices": small_indices,
}
"""All rewrites, in the order in which they are tried."""


@dataclass(frozen=True)
class Plan:
    """A network as it is to be run."""

    flow: Flow
    places: dict[Rewrite, tuple[str, ...]]
    """Where each rewrite was made, by the paths of layers; those that found nothing are left out.
    """
    training: bool

    @property
    def normalizes(self) -> bool:
        """Whether what reads the input takes pixels as they are."""
        return "normalize" in self.places

    @property
    def said(self) -> str:
        """All that is rewritten, in a line; "" where nothing is."""
        return "; ".join(
            RULES[name].SAID.format(places=_listed(places)) for name, places in self.places.items()
        )


def plan(
    trace: Trace,
    *,
    training: bool,
    batch: int,
    names: Names = "auto",
    target: Target | None = None,
) -> Plan:
    """A network rewritten where that pays, for batches of a size; `names` are the rewrites that
    may be made."""
    run = flow(trace, training=training)
    allowed = get_args(Rewrite) if names == "auto" else names
    places: dict[Rewrite, tuple[str, ...]] = {}
    for name, rule in RULES.items():
        if name in allowed:
            draft = Draft(run, training, batch, target or Target())
            found = draft.written(rule.rewrite)
            if found:
                places[name] = found
                run = draft.flow()
    return Plan(run, places, training)


def _listed(places: tuple[str, ...], most: int = 4) -> str:
    """The first of some places, and how many more there are."""
    named, more = places[:most], len(places) - most
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
