"""A solution put into the file that its spec was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shapecalc.analysis.solve import Solution
from shapecalc.diagnostics import Fault, SpecError
from shapecalc.language.edit import rewrite
from shapecalc.language.source import Origin, Source
from shapecalc.language.spec import Spec
from shapecalc.tracer import Trace, trace


def write(solution: Solution, path: str, reload: Callable[[], Spec]) -> Path:
    """Write the changes of a solution into a YAML file, `FILE` or `FILE@VARIANT`; the file.

    Comments and layout stay. The file is then read again by `reload` and traced: where it does not
    give what the solution promises, it is as it was before and SpecError is raised.
    """
    file, at, variant = path.rpartition("@")
    if not at or Path(path).exists():
        file, variant = path, ""
    values = dict(_in_file(solution, Source.read(file).data, variant))

    def check() -> None:
        if facts(trace(reload())) != facts(solution.trace):
            raise Fault(
                "E109",
                f"{file} is left as it was: with these changes it does not give what was found",
                help="values given by --set or --input stand over what is in the file",
            )

    try:
        rewrite(Path(file), values, check)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SpecError([Fault("E100", f"{file} cannot be written: {reason}").at(None)]) from None
    except Fault as fault:
        raise SpecError([fault.at(None)]) from None
    return Path(file)


def _in_file(solution: Solution, data: Any, variant: str) -> Iterator[tuple[Origin, Any]]:
    """What is to be written; a param that the variant sets is changed there."""
    chosen = (data.get("variants") or {}).get(variant) if variant else None
    for path, value in solution.values.items():
        inside = path[0] == "params" and isinstance(chosen, dict) and path[1] in chosen
        yield ("variants", variant, *path[1:]) if inside else path, value


def facts(traced: Trace) -> list[object]:
    """What two Traces of the same network share, wherever they were read from."""
    rows = (
        (row.path, row.kind, row.arguments, row.input_shape, row.output_shape, row.params, row.macs)
        for row in traced.rows
    )
    return [traced.input_shape, traced.spec.train.get("batch_size"), *rows]
