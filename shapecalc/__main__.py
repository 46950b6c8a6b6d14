"""`python -m shapecalc`, and what the `shapecalc` command calls."""

from __future__ import annotations

import gc
import os
import sys

_SHOW = {"--set": True, "--input": True, "--format": True, "--explain": False}
"""Options of `show`, and whether a value follows."""
_VALUED = [option for option, has_value in _SHOW.items() if has_value]
_FORMATS = ("table", "json", "csv", "markdown", "latex")


def main() -> None:
    """Run the command line."""
    gc.disable()  # importing makes much and drops nothing; the long commands turn it on again
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # looking for them takes a while
    if not (sys.argv[1:2] == ["show"] and _show(sys.argv[2:])):
        from shapecalc import cli

        cli.run()


def _show(words: list[str]) -> bool:
    """`show` as it is mostly called, without typer, whose import takes longer than the table.

    False where the words are any others: then typer reads them, and says what is wrong.
    """
    given: dict[str, list[str]] = {}
    specs = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if not word.startswith("-"):
            specs.append(word)
        elif option not in _SHOW or (equals and not _SHOW[option]):
            return False
        else:
            if _SHOW[option] and not equals:
                value = next(rest, "")
            given.setdefault(option, []).append(value)
    format = given.get("--format", ["table"])[-1]
    if len(specs) != 1 or format not in _FORMATS or any("" in given.get(o, ()) for o in _VALUED):
        return False
    from shapecalc import terminal

    input = given["--input"][-1] if "--input" in given else None
    terminal.guarded(
        lambda: terminal.show(
            terminal.load_spec(specs[0], given.get("--set", ()), input),
            format,
            "--explain" in given,
        )
    )
    return True


if __name__ == "__main__":
    main()
