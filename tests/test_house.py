"""Rules of the package that no single module can show."""

import ast
import re
from pathlib import Path

import shapecalc
from shapecalc.diagnostics import CODES
from shapecalc.language.recipe import Recipe
from shapecalc.language.spec import SETTINGS

ROOT = Path(shapecalc.__file__).parent
ORDER = (
    ("diagnostics", "geometry", "caches"),
    ("layers", "language"),
    ("tracer", "inputs"),
    ("analysis", "report", "builder"),
    ("training",),
    ("export",),
    ("terminal", "cli", "__main__"),
)
"""Imports go from a later line to an earlier one, or within a line."""

LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def imports(path: Path, *, lazy: bool) -> set[str]:
    """The modules that a file imports, at its top alone or within its functions too."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    nodes = ast.walk(tree) if lazy else tree.body
    found = set()
    for node in nodes:
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_imports_go_one_way() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in ROOT.rglob("*.py")
        for name in imports(path, lazy=False)
        if name.startswith("shapecalc.") and room(path) in LEVEL
        if LEVEL.get(name.split(".")[1], -1) > LEVEL[room(path)]
    ]
    # What is told while training is part of training; how it looks is the report's.
    assert wrong == ["report/progress.py imports shapecalc.training.reporter.Reporter"]


def test_torch_is_imported_where_it_is_needed() -> None:
    rooms = {
        room(path)
        for path in ROOT.rglob("*.py")
        for name in imports(path, lazy=False)
        if name.split(".")[0] in ("torch", "torchvision", "torchinfo", "safetensors")
    }
    assert rooms == {"builder", "training", "export"}


def test_the_settings_are_the_recipes_fields() -> None:
    assert set(SETTINGS) == set(Recipe.model_fields)


def test_every_code_that_is_raised_is_in_the_catalogue_and_none_is_idle() -> None:
    used = {
        code
        for path in ROOT.rglob("*.py")
        if path.name != "diagnostics.py"
        for code in re.findall(r'"([EW]\d{3})"', path.read_text())
    }
    assert used == set(CODES)
