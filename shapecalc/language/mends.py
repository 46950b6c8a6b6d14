"""The mends for what is written wrong: other tools' words, Python's and YAML's ways.

Imported where something is wrong, so that a sound spec is read without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from shapecalc.diagnostics import nearest
from shapecalc.layers import KINDS

_KINDS = {
    "dense": "linear",
    "fc": "linear",
    "fullyconnected": "linear",
    "innerproduct": "linear",
    "convolution": "conv",
    "swish": "silu",
    "globalavgpool": "adaptive_avg_pool: 1",
    "globalaveragepool": "adaptive_avg_pool: 1",
    "globalaveragepooling": "adaptive_avg_pool: 1",
    "globalmaxpool": "adaptive_max_pool: 1",
    "globalmaxpooling": "adaptive_max_pool: 1",
    "averagepool": "avg_pool",
    "averagepooling": "avg_pool",
    "avgpooling": "avg_pool",
    "maxpooling": "max_pool",
    "pool": "max_pool",
    "deconv": "conv_transpose",
    "deconvolution": "conv_transpose",
    "upconv": "conv_transpose",
    "spatialdropout": "channel_dropout",
    "featuredropout": "channel_dropout",
    "stochasticdepth": "drop_path",
    "bn": "batch_norm",
    "batchnormalization": "batch_norm",
    "layernormalization": "layer_norm",
    "groupnormalization": "group_norm",
    "lrn": "local_response_norm",
    "zeropad": "constant_pad",
    "zeropadding": "constant_pad",
    "upsampling": "upsample",
    "interpolate": "upsample",
    "resize": "upsample",
    "concatenate": "concat",
    "cat": "concat",
    "reshape": "unflatten",
    "view": "flatten",
    "atan": "arctan",
    "heaviside": "binary_step",
}
"""Words of other tools for kinds, without case, underscores and 1d, 2d, 3d."""

_WORDS = {
    "filters": ("out_channels",),
    "n_filters": ("out_channels",),
    "num_filters": ("out_channels",),
    "nb_filter": ("out_channels",),
    "channels": ("out_channels", "num_features", "num_channels"),
    "planes": ("out_channels",),
    "out_channels": ("out_features",),
    "in_channels": ("in_features", "num_features", "num_channels"),
    "out_features": ("out_channels",),
    "in_features": ("in_channels", "num_features", "num_channels"),
    "units": ("out_features",),
    "neurons": ("out_features",),
    "nodes": ("out_features",),
    "features": ("out_features", "num_features"),
    "output_dim": ("out_features", "out_channels"),
    "input_dim": ("in_features", "in_channels"),
    "strides": ("stride",),
    "subsample": ("stride",),
    "s": ("stride",),
    "pool_size": ("kernel_size",),
    "filter_size": ("kernel_size",),
    "kernel": ("kernel_size",),
    "ksize": ("kernel_size",),
    "k": ("kernel_size",),
    "window": ("kernel_size",),
    "pad": ("padding",),
    "rate": ("p", "dilation"),
    "prob": ("p",),
    "probability": ("p",),
    "drop": ("p",),
    "dropout": ("p",),
    "dropout_rate": ("p",),
    "drop_prob": ("p",),
    "dilation_rate": ("dilation",),
    "use_bias": ("bias",),
    "alpha": ("negative_slope",),
    "slope": ("negative_slope",),
    "leak": ("negative_slope",),
    "epsilon": ("eps",),
    "axis": ("dim",),
    "axes": ("dims",),
    "scale": ("scale_factor", "upscale_factor", "affine"),
    "factor": ("scale_factor", "upscale_factor", "downscale_factor"),
    "interpolation": ("mode",),
    "target_shape": ("unflattened_size",),
    "shape": ("unflattened_size", "normalized_shape", "input"),
    "groups": ("num_groups",),
    "n": ("times",),
    "count": ("times",),
    "number": ("times",),
    "input_shape": ("input",),
    "input_size": ("input",),
    "network": ("layers",),
    "model": ("layers",),
    "architecture": ("layers",),
    "vars": ("params",),
    "variables": ("params",),
    "args": ("params",),
    "modules": ("blocks",),
    "fit": ("train",),
    "trainer": ("train",),
    "recipe": ("train",),
    "criterion": ("loss",),
    "loss_fn": ("loss",),
    "scheduler": ("schedule",),
    "lr_scheduler": ("schedule",),
    "dataset": ("data",),
    "transforms": ("augment",),
    "bs": ("batch_size",),
}
"""Words of other tools for arguments and sections; the first that is known where it stands."""

_YAML_1_1 = {
    **dict.fromkeys(("yes", "on", "y"), "true"),
    **dict.fromkeys(("no", "off", "n"), "false"),
}

_EXAMPLES = {
    "out_channels": 8,
    "kernel_size": 3,
    "out_features": 10,
    "output_size": 1,
    "times": 2,
    "norm_type": 2.0,
    "p": 0.1,
}
"""Values for arguments that must be given and are not."""

_NUMBER = re.compile(r"[+-]?0*[1-9][0-9]{0,39}")
_CALL = re.compile(r"(?:\w+\.)*(\w+)(?:\((.*)\))?")
_BOX = re.compile(r"\d{1,40}( ?[x*] ?\d{1,40})+")
_LIST = re.compile(r"\(\s*\d{1,40}(\s*,\s*\d{1,40})*\s*,?\s*\)")
_COLOURS = (1, 3, 4)


def close_word(word: str, known: Iterable[str]) -> str:
    """The known word that is meant by one of another tool, or the nearest in spelling."""
    known = list(known)
    for meant in _WORDS.get(word.lower(), ()):
        if meant in known:
            return meant
    return nearest(word, known)


def close_kind(word: str, blocks: Iterable[str] = ()) -> str:
    """The kind that is meant by a word of another tool, or the nearest in spelling."""
    bare = "".join(c for c in word.lower() if c.isalnum())
    plain = re.sub("[123]d", "", bare)
    if plain in _KINDS:
        return _KINDS[plain]
    known = [*blocks, *KINDS]
    joined = {kind.replace("_", ""): kind for kind in known}
    return joined.get(plain) or nearest(word, known)


def kind(word: str, value: Any, blocks: Iterable[str]) -> str:
    """The mend for an unknown kind with what stands behind it."""
    if " - " in word:
        return "write each layer on a line of its own, its '-' below those of the others"
    if word.startswith("-"):
        return f"write a space after the '-': - {word.lstrip('-')}"
    left, colon, right = word.partition(":")
    if colon and right and close_kind(left, blocks):
        return f"write {close_kind(left, blocks)}: {right.strip()}, with a space after the colon"
    if word.lower() in ("activation", "act", "nonlinearity") and isinstance(value, str):
        word = value
    call = _CALL.fullmatch(word)
    if not call:
        return known_kinds(blocks)
    close = close_kind(call[1], blocks)
    if not close:
        return known_kinds(blocks)
    if call[2]:
        return f"write {close}: {call[2]}"
    if ":" in close:
        return f"write {close}"
    by_rank = re.search("[123]d", call[1].lower()) is not None
    tail = " The input's rank decides between 1d, 2d and 3d" if by_rank else ""
    return f"did you mean {close}?{tail}"


def known_kinds(blocks: Iterable[str]) -> str:
    """All words that a layer can be."""
    return f"known kinds: {', '.join([*blocks, *KINDS])}"


def typed(layer: Mapping[str, Any]) -> str:
    """The mend for a layer as others write it, `{type: Conv2d, out_channels: 8}`."""
    from shapecalc.language.faults import written

    (first, word), *arguments = layer.items()
    if first.lower() not in ("type", "kind", "layer", "module", "class", "class_name", "op"):
        return ""
    close = close_kind(word) if isinstance(word, str) else ""
    return f"write {close}: {written(dict(arguments))}" if close else ""


def extra(owner: str, name: str, value: Any) -> str:
    """The mend for an argument that belongs elsewhere."""
    from shapecalc.language.faults import written

    if name in ("activation", "act", "nonlinearity") and isinstance(value, str):
        if value.lower() == "linear":
            return f"leave it out: {owner} has no activation"
        return f"write - {close_kind(value) or value} after it, as a layer of its own"
    if name in ("lr", "learning_rate") and owner == "train":
        return f"write optimizer: {{adamw: {{lr: {written(value)}}}}}"
    if name in ("weight_decay", "momentum", "betas") and owner == "train":
        kind = "sgd" if name == "momentum" else "adamw"
        return f"write optimizer: {{{kind}: {{{name}: {written(value)}}}}}"
    if name in ("input_shape", "input_size", "in_shape") and owner in KINDS:
        return "leave it out: the spec's input says it"
    return ""


def missing(owner: str, given: Mapping[str, Any], names: Iterable[str]) -> str:
    """The mend for arguments that must be given, with those that are."""
    from shapecalc.language.faults import written

    known = {name: "[...]" if _has_layers(value) else written(value)
             for name, value in given.items()}  # fmt: skip
    new = {name: written(_EXAMPLES[name]) if name in _EXAMPLES else "..." for name in names}
    text = ", ".join(f"{name}: {value}" for name, value in (known | new).items())
    tail = "" if "..." in new.values() else ", for example"
    return f"write {owner}: {{{text}}}{tail}"


def value(name: str, value: Any, details: list[Any], arguments: Mapping[str, Any]) -> str:
    """The mend for a value that an argument does not take; `details` are pydantic's."""
    types = {d["type"] for d in details}
    number = bool(types & {"int_type", "float_type"})
    if name == "input":
        return _input(arguments.get(name))
    if isinstance(value, str):
        return _text(name, value, details, number, arguments)
    if isinstance(value, float) and "int_type" in types and value.is_integer():
        return f"write {int(value)}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _within(value, details)
    return ""


def _within(value: float, details: list[Any]) -> str:
    """The nearest value within the bounds."""
    for detail in details:
        bounds = detail.get("ctx", {})
        if detail["type"] == "less_than_equal" and bounds["le"] == 1 < value <= 100:
            return f"write {value / 100:g}, which is {value:g} %"
        if detail["type"] in ("greater_than_equal", "less_than_equal"):
            (bound,) = bounds.values()
            return f"write {bound}, the {'least' if 'ge' in bounds else 'most'} that it can be"
    return ""


def _text(
    name: str, value: str, details: list[Any], number: bool, arguments: Mapping[str, Any]
) -> str:
    """The mend for a text in place of something else."""
    if any(d["type"] == "bool_type" for d in details) and value.lower() in _YAML_1_1:
        return f"write {_YAML_1_1[value.lower()]}: {value} is a word here"
    if number and _NUMBER.fullmatch(value):
        return f"write {int(value)}: numbers have no leading zeros and no quotes"
    if number and re.fullmatch(r"\d{1,3}(_\d{3})+", value):
        return f"write {value.replace('_', '')}: numbers have no _"
    for detail in details:
        if detail["type"] == "literal_error":
            options = str(detail["ctx"]["expected"]).replace(" or ", ", ").split(", ")
            close = nearest(value, [option.strip("'") for option in options])
            if close:
                return f"did you mean {close}?"
    if re.fullmatch(r"\$[A-Za-z_]\w*", value):
        return f"write ${{{value[1:]}}}"
    kernel = arguments.get("kernel_size")
    if name == "padding" and value.lower() in ("same", "valid") and isinstance(kernel, int):
        half = kernel // 2 if value.lower() == "same" else 0
        return f"write padding: {half}: only conv takes the word"
    if not any(d["type"] == "tuple_type" for d in details):
        return _product(name, value) if number else ""
    sizes = listed(value, arguments)
    return f"write [{', '.join(sizes)}]" if sizes else ""


def _product(name: str, value: str) -> str:
    """The mend for a number that is written as how it comes about: 64*7*7, 64x7x7, 2 * 32 + 1."""
    text = re.sub(r"(?<=\d) ?[x\u00d7] ?(?=\d)", "*", value)
    if not re.fullmatch(r"[\d ()+*/-]{3,60}", text):
        return ""
    mend = f'write "${{{text}}}": what is to be worked out stands in ${{ }}'
    return f"leave it out: it is inferred; or {mend}" if name.startswith("in_") else mend


def listed(value: str, arguments: Mapping[str, Any]) -> list[str]:
    """The numbers of 3x3, (3, 3) or of what YAML makes of that in braces, (3 and the key 3)."""
    if _BOX.fullmatch(value) or _LIST.fullmatch(value):
        return re.findall(r"\d+", value)
    if re.fullmatch(r"\(\d{1,40}", value):
        rest = [key for key, given in arguments.items() if given is None and torn(key)]
        if rest and rest[-1].endswith(")"):
            return [value[1:], *(key.rstrip(")") for key in rest)]
    return []


def torn(key: str) -> bool:
    """Whether a key is a number of a list in parentheses that YAML has taken apart."""
    return re.fullmatch(r"\d{1,40}\)?", key) is not None


def _input(value: Any) -> str:
    """The mend for an input that is no list of sizes."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return f"write input: [3, {value}, {value}], or [1, {value}, {value}] for grey pictures"
    if isinstance(value, str):
        sizes = listed(value, {})
        return f"write input: [{', '.join(sizes)}]" if sizes else ""
    if isinstance(value, list | tuple) and value and value[0] in (None, -1):
        rest = list(value[1:])
        if len(rest) == 3 and rest[-1] in _COLOURS and rest[0] not in _COLOURS:
            rest = [rest[-1], *rest[:-1]]
        return f"write input: {rest}: one sample, without the batch axis, channels first"
    return ""


def divided(text: Any) -> str:
    """The mend for an expression that gives 8.0 or 8.5 where a whole number is meant."""
    if isinstance(text, str) and "${" in text and re.search("[^/]/[^/]", text):
        return f"write {re.sub('(?<!/)/(?!/)', '//', text)}, which rounds down to a whole number"
    return ""


def yaml(problem: str, line: str, column: int) -> tuple[str, str]:
    """A complaint of the YAML parser about a line, in plain words, and the mend."""
    code = line.split(" #")[0].rstrip()
    word = code.strip()
    if line[column : column + 1] == "\t":
        return "YAML is indented with spaces, not tabs", "write two spaces for each tab"
    torn = re.search(r"\$\{[^{}]*\}", code)
    if "expected ','" in problem and torn and column > torn.start():
        return "inside { } or [ ] an expression needs quotes", f'write "{torn[0]}"'
    if "cannot start any token" in problem:
        return f"no value can start with {line[column : column + 1]}", "put it in quotes"
    if "mapping values are not allowed" in problem:
        pair = re.fullmatch(r"(?:- )*\s*(\w+): *(\w+: *[^{}]*)", word)
        mend = f"write {pair[1]}: {{{pair[2]}}}" if pair else "write it as {key: value}"
        return "a second ':' on this line", f"{mend}, or on lines of their own"
    if "could not find expected ':'" in problem:
        return (
            "a ':' is missing after the key, or this line is not indented as the others",
            f"write - {word}, or {word}: ..." if re.fullmatch(r"[\w.]+", word) else "",
        )
    if "expected '-' indicator" in problem:
        return "a list goes on with '- ', as it began", f"write - {word}"
    closed = re.search("expected ',' or '([]}])'", problem)
    if closed:
        opened = "[" if closed[1] == "]" else "{"
        mend = f"write {closed[1]} where it ends, or the ',' that is missing in it"
        return f"a {opened} is opened here and not closed", mend
    if "a key must be a word" in problem:
        double = re.search(r"\{\{ *(.+?) *\}\}", code)
        return problem, f"write ${{{double[1]}}}" if double else ""
    if "end of stream" in problem:
        return "a quote is opened here and not closed", "write the same quote where it ends"
    return problem, ""


def _has_layers(value: Any) -> bool:
    return isinstance(value, list | tuple) and not all(
        isinstance(item, int | float | str) for item in value
    )
