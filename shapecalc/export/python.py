"""A network as the source of a plain torch module, which imports nothing but torch.

Its submodules have the names that `build` gives them, so the same state dict loads into both.
Where tensors are saved and used later, `forward` runs the layers on the way one by one; all else is
made of `nn.Sequential` and two small classes. What comes again is written once, as a function.
"""

from __future__ import annotations

import inspect
import keyword
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from textwrap import indent
from typing import Any

import torch
from torch import nn

from shapecalc.builder import build, modules
from shapecalc.builder.containers import Branches, Merge, Residual, Save, carries
from shapecalc.tracer import Row, Trace

_RESIDUAL = '''class Residual(nn.Module):
    """layers(x) + shortcut(x); x itself where there is no shortcut."""

    def __init__(self, layers: nn.Module, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)  # first: it may work in place
        return y + (x if self.shortcut is None else self.shortcut(x))
'''

_BRANCHES = '''class Branches(nn.Sequential):
    """Modules side by side, on the same input or on a share of its channels each, then merged."""

    def __init__(self, *branches: nn.Module, merge: str, split: bool = False) -> None:
        super().__init__(*branches)
        self.merge = merge
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        inputs = x.chunk(len(self), 1) if self.split else [x] * len(self)
        outputs = [branch(part) for branch, part in zip(self, inputs)]
        if self.merge == "concat":
            return torch.cat(outputs, 1)
        merged: Tensor = outputs[0]
        for output in outputs[1:]:
            merged = merged + output if self.merge == "add" else merged * output
        return merged
'''

_OWN: Mapping[type[nn.Module], str] = {
    Residual: _RESIDUAL,
    Branches: _BRANCHES,
    **{
        cls: inspect.getsource(cls)
        for cls in (
            *(modules.BinaryStep, modules.Arctan, modules.Permute),
            *(modules.LayerScale, modules.DropPath),
        )
    },
}
"""Modules that torch does not have, with their source."""

_IMPORTS = {
    "OrderedDict": "from collections import OrderedDict",
    "Sequence": "from collections.abc import Sequence",
    "torch": "import torch",
    "Tensor": "from torch import Tensor, nn",
}
_SIGNS = {"add": " + ", "multiply": " * "}
_HOISTED = 8
"""Lines from which on what comes again is written once."""


def source(traced: Trace, *, about: Iterable[str] = (), **constants: object) -> str:
    """A Python file with one class, whose `forward` takes [N, *input] and gives [N, *output].

    `about` are more lines for its docstring, `constants` plain values that it defines. Raises
    SpecError where the network cannot be built.
    """
    return _Writer(traced, constants).file(about)


class _Writer:
    """The file so far: the classes and functions it needs, and the statements of `forward`."""

    def __init__(self, traced: Trace, constants: Mapping[str, object]) -> None:
        self.traced, self.constants = traced, constants
        self.rows = {row.path: row for row in traced.rows}
        with torch.device("meta"):
            self.network = build(traced)
        self.names = {*_IMPORTS, *constants, *(cls.__name__ for cls in _OWN), "nn"}
        """Those of the module, which no two things share."""
        self.locals = {"x", "self"}
        self.texts: dict[str, str] = {}
        """The source of each module that is made of others, with nothing written apart."""
        self.counts: Counter[str] = Counter()
        self.functions: dict[str, tuple[str, str]] = {}
        """The name and the text of the function that makes such a module, by that source."""
        self.statements: list[str] = []
        self.saved: dict[str, str] = {}
        """The variable of each saved tensor."""

    def file(self, about: Iterable[str]) -> str:
        name = _new(_class_name(self.traced.name), self.names)
        for path, module in self.network.named_modules():
            if path and not self.is_leaf(path, module):
                self.texts[path] = self.made(path, module, apart=False)
        self.counts.update(self.texts.values())
        layers = [
            f"self.{path} = {self.made(path, module)}"
            for path, module in self.network.named_children()
        ]
        for path in self.network.steps:  # type: ignore[union-attr]
            self.run(str(path), "x")
        shapes = (self.traced.input_shape, self.traced.output_shape)
        takes, gives = (", ".join(map(str, ("N", *shape))) for shape in shapes)
        body = [
            f"class {name}(nn.Module):",
            f'    """Takes [{takes}] and gives [{gives}]."""',
            "",
            "    def __init__(self) -> None:",
            *(indent(text, " " * 8) for text in ("super().__init__()", *layers)),
            "",
            "    def forward(self, x: Tensor) -> Tensor:",
            *(indent(text, " " * 8) for text in (*self.statements, "return x")),
        ]
        functions = [text for _, text in self.functions.values()]
        code = "\n\n\n".join([*functions, "\n".join(body)])
        own = [text.rstrip() for cls, text in _OWN.items() if f"{cls.__name__}(" in code]
        code = "\n\n\n".join([*own, code])
        imports = [line for word, line in _IMPORTS.items() if re.search(rf"\b{word}\b", code)]
        values = [f"{key} = {value!r}" for key, value in self.constants.items()]
        said = f"{self.traced.name}, {self.traced.params:,} parameters."
        head = [_docstring([said, *about]), "", *imports, *([""] if values else []), *values]
        return "\n".join(head) + f"\n\n\n{code}\n"

    def is_leaf(self, path: str, module: nn.Module) -> bool:
        return path in self.rows and not self.rows[path].is_container

    def made(self, path: str, module: nn.Module, *, apart: bool = True, above: int = 1) -> str:
        """The expression that makes a module. What comes at least twice, and more often than what
        it is in, which comes `above` times, becomes a function, where it may be written `apart`."""
        if self.is_leaf(path, module):
            return _call(self.rows[path], module)
        if not apart:
            return self.container(path, module, apart=False)
        text = self.texts[path]
        count = self.counts[text]
        if count <= above or text.count("\n") + 1 < _HOISTED:
            return self.container(path, module, above=above)
        if text not in self.functions:
            made = self.container(path, module, above=count)
            row = self.rows.get(path)
            word = row.kind if row else path.rpartition(".")[2]
            name = _new(word if word.isidentifier() else "layers", self.names)
            body = f"def {name}() -> nn.Module:\n" + indent(f"return {made}", " " * 4)
            self.functions[text] = name, body
        return f"{self.functions[text][0]}()"

    def container(self, path: str, module: nn.Module, *, apart: bool = True, above: int = 1) -> str:
        """The expression that makes a module of its modules."""
        held = {
            name: self.made(f"{path}.{name}", child, apart=apart, above=above)
            for name, child in module.named_children()
            if not isinstance(child, Save | Merge)
        }
        if carries(module) or isinstance(module, nn.ModuleDict):
            return _written("nn.ModuleDict", _pairs(held))
        if isinstance(module, Residual):
            return _written("Residual", held.values())
        if isinstance(module, Branches):
            how = [f"merge={module.merge!r}", *(["split=True"] if module.split else [])]
            return _written("Branches", [*held.values(), *how])
        if list(held) == [str(number) for number in range(len(held))]:
            return _written("nn.Sequential", held.values())
        return _written("nn.Sequential", [_written("OrderedDict", _pairs(held))])

    def run(self, path: str, x: str) -> None:
        """The statements that bring a variable through a module."""
        module = self.network.get_submodule(path)
        say = self.statements.append
        if isinstance(module, Save):
            if module.tensor not in self.saved:
                self.saved[module.tensor] = _new(module.tensor, self.locals)
            say(f"{self.saved[module.tensor]} = {x}")
        elif isinstance(module, Merge):
            say(_joined(x, module.merge, [x, *(self.saved[name] for name in module.tensors)]))
        elif isinstance(module, Residual) and carries(module):
            main = _new("y", self.locals)
            say(f"{main} = {x}")
            self.run(f"{path}.layers", main)
            if module.shortcut is not None:
                self.run(f"{path}.shortcut", x)
            say(_joined(x, "add", [main, x]))
        elif isinstance(module, Branches) and carries(module):
            names = [name for name, _ in module.named_children()]
            parts = [_new("part", self.locals) for _ in names]
            share = f"{x}.chunk({len(names)}, 1)" if module.split else f"[{x}] * {len(names)}"
            say(f"[{', '.join(parts)}] = {share}")
            for name, part in zip(names, parts, strict=True):
                self.run(f"{path}.{name}", part)
            say(_joined(x, module.merge, parts))
        elif carries(module) and not self.is_leaf(path, module):
            for name, _ in module.named_children():
                self.run(f"{path}.{name}", x)
        else:
            say(f"{x} = {self.reference(path)}({x})")

    def reference(self, path: str) -> str:
        """How forward reaches a module: as an attribute, and within a ModuleDict by its name."""
        top, *rest = path.split(".")
        return f"self.{top}" + "".join(f'["{name}"]' for name in rest)


def _call(row: Row, module: nn.Module) -> str:
    """A torch module with the arguments that are not its defaults: nn.Conv2d(3, 8, ...)."""
    cls = type(module)
    given = row.arguments
    words: list[str] = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in given:
            continue
        value = given[name]
        if parameter.default is parameter.empty:
            named = name == "kernel_size" and len(words) > 1
            words.append(f"{name}={_value(value)}" if named else _value(value))
        elif value != parameter.default and not (
            name == "stride" and parameter.default is None and value == given["kernel_size"]
        ):
            words.append(f"{name}={_value(value)}")
    prefix = "" if cls in _OWN else "nn."
    return f"{prefix}{cls.__name__}({', '.join(words)})"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        inner = ", ".join(map(_value, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def _written(function: str, arguments: Iterable[str]) -> str:
    """A call with an argument on each line, or on one line where there is one short argument."""
    arguments = list(arguments)
    if len(arguments) < 2 and "\n" not in "".join(arguments):
        return f"{function}({''.join(arguments)})"
    if len(arguments) == 1:
        return f"{function}({arguments[0]})"
    return f"{function}(\n" + indent(",\n".join(arguments), " " * 4) + ",\n)"


def _pairs(held: Mapping[str, str]) -> list[str]:
    """A dict display of names and expressions, as the one argument of a call."""
    if not held:
        return []
    inner = ",\n".join(f'"{name}": {text}' for name, text in held.items())
    return ["{\n" + indent(inner, " " * 4) + ",\n}"]


def _joined(x: str, how: str, tensors: list[str]) -> str:
    if how == "concat":
        return f"{x} = torch.cat([{', '.join(tensors)}], 1)"
    return f"{x} = {_SIGNS[how].join(tensors)}"


def _new(name: str, taken: set[str]) -> str:
    """A name that nothing has yet, like the one given."""
    found, number = name, 2
    while found in taken or keyword.iskeyword(found):
        found, number = f"{name}_{number}", number + 1
    taken.add(found)
    return found


def _class_name(name: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return joined if joined[:1].isalpha() else f"Network{joined}"


def _docstring(lines: Iterable[str]) -> str:
    """Lines as a docstring, whatever they hold."""
    first, *rest = lines
    text = "\n".join([first, *(["", *rest, ""] if rest else [])])
    plain = all(line.isprintable() for line in text.split("\n"))
    if plain and "\\" not in text and '"""' not in text and not text.endswith('"'):
        return f'"""{text}"""'
    return repr(text)
