"""What is wrong with the data, put into words."""

from __future__ import annotations

from collections.abc import Sequence

from shapecalc.diagnostics import DataError, Diagnostic


def data_error(code: str, message: str, help: str = "") -> DataError:
    """The error of a single fault."""
    return DataError([Diagnostic(code, message, help=help)])


def reason(error: BaseException) -> str:
    """An error in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def several(names: Sequence[str]) -> str:
    """A few names in full, of many the first five and the number of the others."""
    shown = names if len(names) <= 6 else names[:5]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more
