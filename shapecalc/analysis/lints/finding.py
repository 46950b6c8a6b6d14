"""What a rule says."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One place where a rule is broken."""

    row: int
    """The index of the layer's row."""
    message: str
    argument: str = ""
    """The argument to point at, where the spec gives it."""
    note: str = ""
    help: str = ""
    """The mend, with its numbers."""
