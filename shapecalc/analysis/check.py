"""What is wrong with a spec, without training it."""

from __future__ import annotations

from collections.abc import Callable

from shapecalc.analysis.lints import lints
from shapecalc.diagnostics import Diagnostic, Fault, SpecError
from shapecalc.language.faults import locate
from shapecalc.language.spec import Spec
from shapecalc.report.table import quantity
from shapecalc.tracer import trace


def check(
    spec: Spec,
    *,
    expect_in_features: int | None = None,
    max_params: int | None = None,
    max_macs: int | None = None,
) -> list[Diagnostic]:
    """All faults of a spec, its recipe included, and the limits that it passes, in file order; then
    its lints, which are those of severity "warning"."""
    found = _found(spec, expect_in_features, max_params, max_macs)
    return sorted(
        found, key=lambda d: (d.severity == "warning", d.place[1:3] if d.place else (0, 0))
    )


def check_all(
    name: str, load: Callable[[str], Spec], *, reload: bool = False, **limits: int | None
) -> tuple[list[Diagnostic], int]:
    """What is wrong with a spec and each of its variants, and how many these are. `load` gives the
    spec of a name, and a variant for "NAME@VARIANT"; with `reload` it is asked for each of them.

    What is wrong in several of them is told once; so is a lint of one line, whatever its numbers.
    """
    try:
        spec = load(name)
        found = check(spec, **limits)
    except SpecError as error:
        return list(error.diagnostics), 1
    for variant, params in spec.variants.items():
        if not params:
            continue  # the same network under another name
        more = [] if reload else check(spec.variant(variant), **limits)
        if reload or any(d.severity == "error" for d in more):  # for the places in the variant
            more = check(load(f"{name}@{variant}"), **limits)
        found += more
    told: dict[object, Diagnostic] = {}
    for one in found:
        told.setdefault((one.code, one.place) if one.severity == "warning" else one, one)
    return list(told.values()), 1 + len(spec.variants)


def _found(
    spec: Spec, expect_in_features: int | None, max_params: int | None, max_macs: int | None
) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    try:
        spec.recipe()
    except SpecError as error:
        found += error.diagnostics
    try:
        traced = trace(spec)
    except SpecError as error:
        return [*found, *error.diagnostics]
    found += lints(traced)
    linear = traced.first_linear
    features = linear[0].input_shape[-1] if linear else None
    if expect_in_features is not None and features != expect_in_features:
        if linear:
            row = linear[0]
            message = f"{row.path} gets {features} in-features, not {expect_in_features}"
            found.append(Diagnostic("E206", message, row.place, row.path))
        else:
            fault = Fault("E206", "no linear layer comes after a convolution")
            found.append(locate(fault, spec.source, ("layers",), part="key"))
    for what, count, limit in (
        ("params", traced.params, max_params),
        ("MACs", traced.macs, max_macs),
    ):
        if limit is not None and count > limit:
            key = "params" if what == "params" else "macs"
            most = max(traced.leaves, key=lambda row: getattr(row, key))
            part = getattr(most, key)
            found.append(
                Diagnostic(
                    "E206",
                    f"{traced.name} has {count:,} {what}, more than {limit:,}",
                    most.place,
                    most.path,
                    help=f"{most.path} alone has {quantity(part)} of them, {part / count:.0%}",
                )
            )
    return found
