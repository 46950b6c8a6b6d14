"""pydantic's complaints about a value, as Diagnostics in the language's own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from shapecalc.diagnostics import MOST_FAULTS, Diagnostic, Fault
from shapecalc.language.source import Origin, Part, Source, Way, as_step, plain
from shapecalc.layers import KINDS
from shapecalc.layers.base import COMMON


def locate(
    fault: Fault,
    source: Source | None,
    origin: Origin,
    *,
    part: Part = "entry",
    path: str = "",
    way: Way = (),
) -> Diagnostic:
    """A Fault met at `origin` of a source, which points at its argument where it has one."""
    steps = tuple(as_step(s) for s in fault.argument.split(".") if s)
    if fault.code == "E104":  # the word itself is wrong
        part = "key"
    place = source.place((*origin, *steps), part) if source else None
    if not source:
        return fault.at(None, path, tuple((said, None) for said, _ in way))
    trail = tuple((said, source.place(into, "entry")) for said, into in way)
    return fault.at(place, path, trail)


def problems(
    error: ValidationError,
    owner: str,
    model: type[BaseModel],
    given: Mapping[str, Any] | None = None,
) -> list[Fault]:
    """One Fault for each argument that is at fault; `owner` is the kind or section, and `given` are
    all of its arguments."""
    from shapecalc.language import mends  # a sound spec needs none

    given = given or {}
    by_argument: dict[str, list[Any]] = {}
    for detail in error.errors(include_url=False):
        first = str(detail["loc"][0]) if detail["loc"] else ""
        by_argument.setdefault(first, []).append(detail)
    missing = [
        name
        for name, (detail, *_) in by_argument.items()
        if detail["type"] == "missing" and len(detail["loc"]) == 1
    ]
    for name in missing:
        del by_argument[name]
    wrong = islice(by_argument.items(), MOST_FAULTS)
    found = [_fault(owner, name, details, model, given) for name, details in wrong]
    if any(fault.help and str(fault.value).startswith("(") for fault in found):
        found = [fault for fault in found if not mends.torn(fault.argument)]
    misspelt = {fault.help for fault in found if fault.code == "E104"}
    missing = [name for name in missing if f"did you mean {name}?" not in misspelt]
    if missing:
        known = {name: value for name, value in given.items() if name in model.model_fields}
        help = mends.missing(owner, known, missing)
        found.insert(0, Fault("E107", f"{owner} needs {' and '.join(missing)}", help=help))
    return found


def unknown(
    owner: str, word: str, known: Iterable[str], what: str = "argument", value: Any = None
) -> Fault:
    """A Fault for a word that is not among the known ones, with the nearest of them."""
    from shapecalc.language import mends

    known = list(known)
    close = mends.close_word(word, known)
    rest = ["..."] if len(known) > 40 else []
    has = f"{owner} takes {', '.join(known[:40] + rest)}" if known else f"{owner} takes none"
    help = mends.extra(owner, word, value) or (f"did you mean {close}?" if close else has)
    return Fault("E104", f"{owner} has no {what} {word!r}", argument=word, help=help)


def _fault(
    owner: str, name: str, details: list[Any], model: type[BaseModel], given: Mapping[str, Any]
) -> Fault:
    from shapecalc.language import mends

    detail = details[0]
    if not name:
        if detail["type"] == "value_error":
            return Fault("E106", f"{owner}: {detail['ctx']['error']}")
        return Fault("E106", f"{owner} {detail['msg']}")
    if detail["type"] == "extra_forbidden" and len(detail["loc"]) == 1:
        known = [n for n in model.model_fields if n not in COMMON or owner == "a spec"]
        what = "argument" if owner in KINDS else "key"
        return unknown(owner, name, known, what, detail["input"])
    for detail in details:
        if detail["type"] == "value_error":  # the branch of a union that took the value's form
            said, *help = detail["ctx"]["error"].args
            return Fault("E106", f"{owner}: {name}: {said}", argument=name, help="".join(help))
    details = _of_the_right_branch(details)
    indices = [step for step in details[0]["loc"][1:] if isinstance(step, int)]
    value = details[0]["input"]
    wanted = list(dict.fromkeys(_wanted(d) for d in details))
    return Fault(
        "E106",
        f"{owner} needs {' or '.join(wanted)} for {name}, not {written(value)}",
        argument=".".join(map(str, [name, *indices])),
        help=mends.value(name, value, details, given),
        value=value,
    )


def _of_the_right_branch(details: list[Any]) -> list[Any]:
    """Of a union's complaints, those of the branches that fit the value best: the deepest."""
    deepest = max(sum(isinstance(step, int) for step in d["loc"]) for d in details)
    kept = [d for d in details if sum(isinstance(s, int) for s in d["loc"]) == deepest]
    right_type = [d for d in kept if not d["type"].endswith("_type")]
    return right_type or kept


def _wanted(detail: Any) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "int_type" | "int_from_float" | "int_parsing":
            return "a whole number"
        case "float_type":
            return "a number"
        case "bool_type":
            return "true or false"
        case "string_type":
            return "a word"
        case "tuple_type" | "list_type":
            return "a list"
        case "dict_type" | "model_type":
            return "named values"
        case "none_required":
            return "null"
        case "greater_than_equal":
            return f"at least {context['ge']}"
        case "greater_than":
            return f"more than {context['gt']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "less_than":
            return f"less than {context['lt']}"
        case "literal_error":
            return str(context["expected"]).replace("'", "")
        case "finite_number":
            return "a finite number"
        case "too_short":
            return f"at least {context['min_length']} values"
        case "string_pattern_mismatch":
            return "a word of letters, digits and _ that does not start with a digit"
        case "missing":
            return f"a value for {detail['loc'][-1]}"
        case "extra_forbidden":
            return f"no {detail['loc'][-1]!r}"
    return str(detail["msg"])


def written(value: Any) -> str:
    """A value as it would be written in a spec, cut short where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        text = f"[{', '.join(map(written, value))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{k}: {written(v)}' for k, v in value.items())}}}"
    elif isinstance(value, str) and (not value.isprintable() or plain(value or "~") != value):
        text = repr(value)
    else:
        text = str(value)
    return text if len(text) <= 50 else text[:47] + "..."
