"""A spec: the document as written, with its layers read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from shapecalc.diagnostics import MOST_FAULTS, Diagnostic, Fault, SpecError, nearest
from shapecalc.language.expressions import Value, freeze, resolve
from shapecalc.language.faults import locate, problems, unknown, written
from shapecalc.language.items import Params, Problems, read_items
from shapecalc.language.source import Key, Origin, Source, as_step
from shapecalc.layers.base import Codes
from shapecalc.layers.structure import Block, Items

if TYPE_CHECKING:
    from shapecalc.language.recipe import Recipe

SECTIONS = (
    *("name", "input", "params", "variants", "blocks", "layers", "max_layers", "allow", "train"),
)
SETTINGS = (
    *("data", "resize", "augment", "normalize", "loss", "class_weights", "optimizer", "schedule"),
    *("freeze", "lr_decay", "warmup", "epochs", "batch_size", "accumulate", "clip_grad_norm"),
    *("early_stop", "ema", "tta", "save_every", "seed", "precision", "compile", "cuda_graphs"),
    *("rewrites", "parallel", "workers", "cache", "init"),
)
"""The keys of `train:`, which are the fields of `Recipe`; that is imported where it is needed."""

Size = Annotated[int, Field(strict=True, ge=1)] | str


class Spec(BaseModel):
    """A network: its input, its layers and how it is trained.

    `input` is one sample without the batch axis: (C, H, W), (C, L), (C, D, H, W) or (features,).
    Numbers, words and booleans may be `${...}` expressions over `params`. A variant is a named set
    of params; a block is a piece of network to be called by its name. No more than `max_layers`
    are walked, repeats written out. The lints in `allow` are not told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    name: str = "network"
    input: Annotated[tuple[Size, ...], Field(min_length=1)]
    params: dict[str, Any] = {}
    variants: dict[str, dict[str, Any] | None] = {}
    blocks: dict[str, InstanceOf[Block]] = {}
    layers: Items
    max_layers: Annotated[int, Field(strict=True, ge=1)] = 20_000
    allow: Codes = ()
    train: dict[str, Any] = {}
    _source: Source | None = PrivateAttr(None)
    _overrides: frozenset[str] = PrivateAttr(frozenset())

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, data: Any) -> Any:
        """Layers may be in the short form of YAML, and the recipe an object."""
        if not isinstance(data, dict):
            return data
        found: Problems = []
        blocks, params = _blocks(data.get("blocks"), found)
        layers = read_items(data.get("layers", ()), ("layers",), found, params)
        data = {**data, "blocks": blocks, "layers": layers}
        if found:
            raise SpecError(locate(fault, None, origin) for fault, origin in found)
        if isinstance(data.get("train"), BaseModel):
            data["train"] = data["train"].model_dump(exclude_unset=True)
        return data

    def __eq__(self, other: object) -> bool:
        """Whether the contents are the same, wherever they were read from."""
        return isinstance(other, Spec) and dict(self) == dict(other)

    @property
    def source(self) -> Source | None:
        """The text that the spec was read from."""
        return self._source

    def is_overridden(self, key: str) -> bool:
        """Whether `--set` gave the value at a dotted key."""
        return key in self._overrides

    def scope(self) -> dict[str, Value]:
        """The values of `params`, each able to use those before it. Raises SpecError."""
        scope: dict[str, Value] = {}
        for name, value in self.params.items():
            if name == "x":
                fault = Fault("E106", "a param cannot be called x, which is the tensor at hand")
                raise SpecError([locate(fault, self.source, ("params", name))])
            scope[name] = self._resolve(value, scope, ("params", name), freeze)
        return scope

    def input_shape(self) -> tuple[int, ...]:
        """The input's sizes. Raises SpecError."""
        shape = self._resolve(self.input, self.scope(), ("input",))
        for index, size in enumerate(shape):
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                fault = Fault(
                    "E106",
                    f"input needs whole numbers of at least 1, not {written(size)}",
                    help="write 1 or more; // divides to a whole number",
                )
                raise SpecError([locate(fault, self.source, ("input", index))])
        return tuple(shape)

    def recipe(self) -> Recipe:
        """The settings of `train:`, with defaults for what is not given. Raises SpecError."""
        from shapecalc.language.recipe import Recipe  # `show` does without it

        data = self._resolve(self.train, self.scope(), ("train",))
        try:
            return Recipe.model_validate(data)
        except ValidationError as error:
            raise SpecError(
                locate(fault, self.source, ("train",)) for fault in problems(error, "train", Recipe)
            ) from None

    def with_params(self, **params: Value) -> Spec:
        """The same spec with other values of some params."""
        return self.model_copy(update={"params": {**self.params, **params}})

    def variant(self, name: str) -> Spec:
        """The spec with the params of a variant, and its name. Raises SpecError for an unknown
        one."""
        try:
            check_variant(name, self.variants)
        except Fault as fault:
            raise SpecError([fault.at(None)]) from None
        return self.model_copy(
            update={
                "name": name,
                "params": {**self.params, **(self.variants[name] or {})},
                "variants": {},
            }
        )

    def with_input(self, shape: tuple[int, ...]) -> Spec:
        """The same spec for another input."""
        return self.model_copy(update={"input": shape})

    def to_yaml(self) -> str:
        """The spec as YAML, each layer in its shortest form."""
        from shapecalc.language.writer import to_yaml

        return to_yaml(self)

    def _resolve(
        self,
        value: Any,
        scope: Mapping[str, Value],
        origin: tuple[Key, ...],
        then: Callable[[Any], Any] = lambda value: value,
    ) -> Any:
        try:
            return then(resolve(value, scope))
        except Fault as fault:
            raise SpecError([locate(fault, self.source, origin)]) from None


def load(path: str | Path, overrides: Mapping[str, str] | None = None) -> Spec:
    """The spec in a YAML file, `FILE@VARIANT` for one of its variants; `overrides` maps dotted keys
    to YAML texts, as `--set` does.

    Raises SpecError with everything that is wrong.
    """
    file, at, variant = str(path).rpartition("@")
    if not at or Path(path).exists():
        file, variant = str(path), ""
    return _spec(Source.read(file), overrides or {}, variant)


def loads(
    text: str,
    *,
    file: str = "<text>",
    overrides: Mapping[str, str] | None = None,
    variant: str = "",
) -> Spec:
    """The spec in a YAML text, as `load` does it."""
    return _spec(Source(text, file), overrides or {}, variant)


def check_variant(name: str, variants: Any) -> None:
    """Raises Fault for a variant that a spec does not have."""
    if not isinstance(variants, Mapping) or not variants:
        raise Fault("E109", f"@{name}: the spec has no variants")
    if name not in variants:
        close = nearest(name, variants)
        help = f"did you mean @{close}?" if close else f"it has {', '.join(variants)}"
        raise Fault("E109", f"@{name}: the spec has no such variant", help=help)


def _take_variant(source: Source, name: str) -> None:
    """Put the params of a variant in place of the spec's own."""
    data = source.data
    check_variant(name, data.get("variants"))
    chosen = data["variants"][name] or {}
    mark = source.mark.child("variants")
    marks = mark and mark.child(name)
    for key, value in chosen.items() if isinstance(chosen, dict) else ():
        if key in _named(data.get("params")):
            below = marks and marks.child(key)
            assert below is not None
            source.override(("params", key), value, below)
    data["name"] = name


def _named(value: Any) -> dict[str, Any]:
    """A section of named values; none where it is something else, which is told elsewhere."""
    return value if isinstance(value, dict) else {}


def _variant_problems(variants: Any, params: Any) -> Iterator[tuple[Fault, Origin]]:
    """A variant can only set what is among the params."""
    if not isinstance(variants, dict):
        return
    for name, chosen in variants.items():
        if chosen is None:
            continue
        if not isinstance(chosen, dict):
            fault = Fault("E106", f"the variant {name} needs params, not {written(chosen)}",
                          help=f"write {name}: {{width: 2}}")  # fmt: skip
            yield fault, ("variants", name)
            continue
        for key in chosen:
            if key not in _named(params):
                yield unknown("params", key, _named(params), "param"), ("variants", name)


def _spec(source: Source, overrides: Mapping[str, str], variant: str = "") -> Spec:
    data = source.data
    if not isinstance(data, dict):
        fault = Fault(
            "E106",
            f"a spec is made of named sections, not {written(data)}",
            help="start with input: [3, 224, 224] and layers:",
        )
        raise SpecError([locate(fault, source, ())])
    faults: list[Diagnostic] = []
    if variant:
        try:
            _take_variant(source, variant)
        except Fault as fault:
            raise SpecError([fault.at(None)]) from None
    for key, value in overrides.items():
        try:
            _override(source, key, value)
        except Fault as fault:
            faults.append(fault.at(None))
    found: Problems = [
        (unknown("a spec", key, SECTIONS, "key"), ())
        for key in islice((key for key in data if key not in SECTIONS), MOST_FAULTS)
    ]
    misspelt = {fault.help for fault, _ in found}
    found += [
        (Fault("E107", f"a spec needs {key}", help=help), ())
        for key, help in (
            ("input", "one sample without the batch axis, such as input: [3, 224, 224]"),
            ("layers", "a list of layers, such as - conv: {out_channels: 8, kernel_size: 3}"),
        )
        if data.get(key) is None and f"did you mean {key}?" not in misspelt
    ]
    settings = data.get("train")
    if isinstance(settings, dict):  # their values are looked at when they are needed
        others = (key for key in settings if key not in SETTINGS)
        found += [
            (unknown("train", key, SETTINGS, "key", settings[key]), ("train",))
            for key in islice(others, MOST_FAULTS)
        ]
    variants = list(
        islice(_variant_problems(data.get("variants"), data.get("params")), MOST_FAULTS)
    )
    found += variants
    blocks, params = _blocks(data.get("blocks"), found)
    layers = (
        read_items(data["layers"], ("layers",), found, params)
        if data.get("layers") is not None
        else ()
    )
    known = {key: value for key, value in data.items() if key in SECTIONS and value is not None}
    if variant or variants:
        known.pop("variants")
    try:
        read = {"blocks": blocks, "layers": layers}
        spec = Spec.model_validate({"input": (1,), **known, **read})
    except ValidationError as error:
        found += [(fault, ()) for fault in problems(error, "a spec", Spec, data)]
        spec = None
    for wrong, _ in found:
        if not wrong.help and wrong.value in list(_named(data.get("params"))):
            wrong.help = f"write ${{{wrong.value}}} for the param of that name"
    faults += [
        locate(fault, source, origin, part="key" if fault.code == "E104" else "entry")
        for fault, origin in found
    ]
    if spec is not None:
        spec._source, spec._overrides = source, frozenset(overrides)
    if faults or spec is None:
        raise SpecError(sorted(faults, key=lambda d: d.place[1:3] if d.place else (0, 0)))
    return spec


def _blocks(data: Any, found: Problems) -> tuple[dict[str, Block], Params]:
    """The blocks of a spec, and the parameters of all that are there, sound or not."""
    if data is None or data == {}:
        return {}, {}
    from shapecalc.language.blocks import parameters, read_blocks  # most specs have none

    return read_blocks(data, found), parameters(data)


def _override(source: Source, key: str, value: str) -> None:
    """Put `value` at the dotted `key`. Raises Fault where there is no such place."""
    path = tuple(map(as_step, key.split(".")))
    data = source.data
    params = _named(data.get("params"))
    if path[0] not in SECTIONS:
        fault = unknown("a spec", str(path[0]), SECTIONS, "key")
        raise Fault("E109", f"--set {key}: {fault.message}", help=fault.help)
    if path[0] == "params" and len(path) > 1 and path[1] not in params:
        fault = unknown("params", str(path[1]), params, "param")
        raise Fault("E109", f"--set {key}: {fault.message}", help=fault.help)
    for depth, step in enumerate(path):
        last = depth == len(path) - 1
        fits = (
            (isinstance(data, dict) and isinstance(step, str))
            or (isinstance(data, list) and isinstance(step, int) and step < len(data))
        )  # fmt: skip
        if not fits:
            above = ".".join(map(str, path[:depth])) or "the spec"
            raise Fault("E109", f"--set {key}: {above} is {written(data)}, which has no {step}")
        if not last:
            below = data.get(step) if isinstance(data, dict) else data[step]
            data = {} if below is None else below
    text = Source(f"{key}: {value}", "--set")
    mark = text.mark.child(key)
    if mark is None or len(text.data) != 1:
        raise Fault("E109", f"--set {key}: {written(value)} is not one value of YAML")
    source.override(path, text.data[key], mark)


def parse_input(text: str) -> tuple[int, ...]:
    """`3x224x224` as a shape. Raises Fault."""
    sizes = text.split("x")
    if len(sizes) > 4 or not all(_is_size(size) for size in sizes):
        raise Fault(
            "E109",
            f"--input {text} is not a shape",
            help="write the sizes of one sample with x between them, such as 3x224x224",
        )
    return tuple(map(int, sizes))


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 13 and int(text) > 0
