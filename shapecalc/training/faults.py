"""What is wrong with the data or the numbers, put into words."""

from __future__ import annotations

from collections.abc import Sequence

from shapecalc.diagnostics import DataError, Diagnostic, RunError


def data_error(code: str, message: str, help: str = "") -> DataError:
    """The error of a single fault."""
    return DataError([Diagnostic(code, message, help=help)])


def reason(error: BaseException) -> str:
    """An error in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def not_finite(what: str, kept: str, lr: float, files: str = "") -> RunError:
    """The error of a loss or gradient that is no number; `kept` is how far the run is saved."""
    message = f"{what}; {f'what was saved after {kept} is kept' if kept else 'nothing is saved'}"
    message += f"; {files}" if files else ""
    help = f"lower the learning rate (now {lr:.3g}), or write clip_grad_norm: 1.0"
    return RunError([Diagnostic("E504", message, help=help)])


def several(names: Sequence[str], most: int = 6) -> str:
    """A few names in full; of more than `most` the first ones and the number of the others."""
    shown = names if len(names) <= most else names[: most - 1]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more
