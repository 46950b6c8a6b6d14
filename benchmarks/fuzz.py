"""The full fuzz campaign: `python benchmarks/fuzz.py [PART ...] [--scale 0.01] [--seed 7]`.

    pools        every 1-D pool of the ranges in tests/layers/test_fuzz.py, against torch
    graphs       random nested networks of tests/graphs.py, against its judge and the built model
    expressions  random, mutated and hostile expressions: a Fault or a plain value, within limits
    specs        mutated spec texts, read and shown: a SpecError or a table, within limits
    layers       random layers of each family of tests/strategies.py, against torch

Each part is cut into chunks, each a process of its own, so that a crash, a hang or a leak is that
chunk's alone. A full run writes benchmarks/results/fuzz.json and fuzz.md after every part; with
--scale it only prints, unless --out names a folder. Exits with 1 where anything failed.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import platform
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/layers")]

PARTS = {"pools": 0, "graphs": 20_000, "expressions": 1_000_000, "specs": 1_000_000,
         "layers": 100_000}  # fmt: skip
"""Cases to run, of layers in each family; pools are all there are."""
CHUNK = {"graphs": 2_000, "expressions": 50_000, "specs": 20_000, "layers": 50_000}
KERNELS = range(1, 8)
MOST_SECONDS = 1.0
MOST_BYTES = 200 * 2**20
CHUNK_SECONDS = 3_600
MEMORY = 4 * 2**30
KEPT = 5
"""Examples that are kept of one part's failures, the smallest of each kind."""

Case = Callable[[], str]
"""Runs one case: what became of it, such as `taken`. Raises for a failure."""


# ---------------------------------------------------------------- one chunk, in its own process


class TooSlow(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


class Failed(Exception):
    """A case that did not do what must hold."""


def chunk(job: dict[str, Any]) -> dict[str, Any]:
    """Run some cases of a part: counts, the digests of the cases, and what failed."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, _stop)
    warnings.simplefilter("always")
    said: list[str] = []
    warnings.showwarning = lambda message, kind, *_, **__: said.append(kind.__name__)
    make = {"layers": layers, "pools": pools, "graphs": graphs, "specs": specs,
            "expressions": expressions}[job["part"]]  # fmt: skip
    limited = job["part"] in ("specs", "expressions")
    counts: Counter[str] = Counter()
    failures: dict[str, dict[str, Any]] = {}
    seen: set[str] = set()
    slowest = 0.0
    base = peak = 0
    gc.freeze()
    for text, case in make(job, Random(f"{job}")):
        if not base:  # after all that is imported once
            base = peak = _peak()
        said.clear()
        kind = ""
        started = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS if limited else 60)
            try:
                counts[case()] += 1
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
        except TooSlow:
            kind = f"more than {MOST_SECONDS if limited else 60:g} s"
        except Failed as failed:
            kind = str(failed)
        except BaseException as error:
            kind = _where(error)
        slowest = max(slowest, time.process_time() - started)
        if limited:
            grown = _peak()
            if grown - base > MOST_BYTES and grown > peak:
                kind = kind or f"more than {MOST_BYTES >> 20} MB"
            peak = max(peak, grown)
            kind = kind or (f"a {said[0]}" if said else "")
        seen.add(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest())
        counts["run"] += 1
        if kind:
            counts["failed"] += 1
            found = failures.setdefault(kind, {"kind": kind, "count": 0, "text": text})
            found["count"] += 1
            found["text"] = min(found["text"], text, key=len)
    return {
        "counts": counts,
        "failures": sorted(failures.values(), key=lambda f: len(f["text"])),
        "seen": "".join(seen),
        "slowest": round(slowest, 3),
        "grown": peak - base,
        "cpu": round(time.process_time(), 1),
    }


def _stop(*_: object) -> None:
    raise TooSlow


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _where(error: BaseException) -> str:
    """An exception with the innermost line of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/shapecalc/" in f.filename and "site-packages" not in f.filename]
    at = (ours or frames)[-1]
    return f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}"


def layers(job: dict[str, Any], random: Random) -> Iterator[tuple[str, Case]]:
    """Layers of a family, near the edge of what torch takes and beyond it."""
    import torch
    from strategies import FAMILIES, drawn
    from test_fuzz import calculated, judged

    torch.set_num_threads(1)
    for _ in range(job["count"]):
        case = drawn(FAMILIES[job["family"]], random)
        yield repr(case), lambda case=case: _agreed(calculated(case), judged(case))


def pools(job: dict[str, Any], random: Random) -> Iterator[tuple[str, Case]]:
    import torch
    from test_fuzz import calculated, exhaustive_pools, run

    torch.set_num_threads(1)
    for number, case in enumerate(exhaustive_pools(kernels=[job["kernel"]])):
        if number % job["step"] == 0:
            yield repr(case), lambda case=case: _agreed(calculated(case), run(case))


def _agreed(ours: object, real: object) -> str:
    if ours != real:
        raise Failed(
            f"{'refused' if ours is None else 'taken' if real is None else 'another shape'} here, "
            f"{'refused' if real is None else 'taken'} by torch"
        )
    return "refused" if real is None else "taken"


def graphs(job: dict[str, Any], random: Random) -> Iterator[tuple[str, Case]]:
    import torch
    from graphs import graphs as strategy
    from hypothesis.control import BuildContext
    from hypothesis.errors import StopTest
    from hypothesis.internal.conjecture.data import ConjectureData
    from test_graphs import check

    def compare(graph: Any) -> str:
        try:
            return check(graph)
        except AssertionError:
            raise Failed("not what torch makes of it") from None

    torch.set_num_threads(1)
    drawer, done = strategy(), 0
    while done < job["count"]:
        data = ConjectureData(random=random)
        try:
            with BuildContext(data, is_final=False, wrapped_test=graphs):
                graph = data.draw(drawer)
        except StopTest:  # more choices than hypothesis gives a case
            continue
        done += 1
        yield repr(graph), lambda graph=graph: compare(graph)


# ---------------------------------------------------------------- expressions

SCOPE: dict[str, Any] = {
    "n": 3,
    "classes": 15,
    "half": 0.5,
    "flag": True,
    "word": "same",
    "nothing": None,
    "widths": (16, 32, 64),
    "deep": (1, (2, (3, ("four", 5.0)))),
    "x": {"channels": 64, "height": 32, "width": 31},
}
NUMBERS = (
    *("0", "1", "2", "3", "7", "10", "255", "256", "257", "-1", "0.5", "1e-3", "1e308", "1e999"),
    *("9**9", "10**76", "10**77", "2**255", "2**256", "99999999999", "9" * 76, "9" * 90, "1j"),
    *("0x1F", "0b1", "1_000", "1e-320", "0.0", "-0.0", "9" * 390),
)
NAMES = (
    *("n", "classes", "half", "flag", "word", "nothing", "widths", "deep", "x", "x.channels"),
    *("x.height", "x.width", "x.depth", "x.__class__", "True", "False", "None", "undefined"),
    *("__builtins__", "__import__", "self", "e", "_", "nan", "inf"),
    *("\u017fum", "\u2115", "\uff4e", "max", "min", "NotImplemented", "Ellipsis", "..."),
)
FUNCTIONS = ("min", "max", "round", "ceil", "floor", "len", "sum", "int", "abs")
OTHER_CALLS = (
    *("eval", "exec", "open", "getattr", "__import__", "str", "pow", "range", "type", "sorted"),
    *("breakpoint", "print", "list", "tuple", "bytes", "divmod", "exit", "float", "input"),
)
BINARY = ("+", "-", "*", "/", "//", "%", "**", "<<", ">>", "&", "|", "^", "@")
COMPARE = ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not")
STRINGS = (
    *("'same'", '"valid"', "''", "'a' * 999", "b'1'", "f'{n}'", "f'{n!r:>{10**9}}'", "r'\\d'"),
    *("'\\d'", "'\\ud800'", "'%s' % n", "'{0.__class__}'.format(n)", "'''a'''", "u'1'"),
    *("'a' 'b'", "'\\N{DIGIT ONE}'", "'\\x00'", "'é'"),
)
ESCAPES = (
    "().__class__.__bases__[0].__subclasses__()",
    "[c for c in ().__class__.__mro__]",
    "(lambda: {0})()",
    "(lambda f: f(f))(lambda f: f(f))",
    "[{0} for _ in widths]",
    "({0} for _ in range(10**9))",
    "{{{0}: {1}}}",
    "{{{0}, {1}}}",
    "(y := {0})",
    "__import__('os').system({0})",
    "getattr({0}, '__class__')",
    "x.__init__.__globals__",
    "{0}.real",
    "{0}.__class__({1})",
    "sum(*{0})",
    "max({0}, key=len)",
    "max(**{0})",
    "min([])",
    "sum([{0}] * 10**9)",
    "[{0}] * 99999999",
    "'a' * 10**10",
    "(1,) * 10**9",
    "await {0}",
    "yield {0}",
    "{0}; {1}",
    "{0} if {1}",
    "{0}\n{1}",
    "{0} # {1}",
    "{0}, *{1}",
    "*{0}",
    "{0}[{1}]",
    "{0}[{1}:{0}]",
    "widths[{0}:{1}:{0}]",
    "deep[1][1][1][{0}]",
    "round({0}, {1})",
    "round({0}, -10**9)",
    "int({0}, 36)",
    "int('{0}')",
    "int({0} / 1e-300)",
    "{0} ** {1}",
    "{0} ** {1} ** {0}",
    "(-8) ** 0.5",
    "{0} % {1}",
    "{0} // {1}",
    "abs({0}) ** -{1}",
    "1 if {0} else {1}",
    "{0} < {1} < {0}",
    "print({0})",
    "exec('import os')",
    "globals()['__builtins__']",
    "{0}if {1}else {0}",
    "0x{0}",
    "{0}or {1}",
)


def expressions(job: dict[str, Any], random: Random) -> Iterator[tuple[str, Case]]:
    from shapecalc.diagnostics import Fault
    from shapecalc.language.expressions import evaluate

    def check(text: str) -> str:
        try:
            value = evaluate(text, SCOPE)
        except Fault as fault:
            str(fault)
            return "refused"
        if _leaves(value) > 20_000 + len(text):
            raise Failed("a value of more than 20,000 parts")
        return "taken"

    for _ in range(job["count"]):
        text = expression_text(random)
        yield text, lambda text=text: check(text)


def _leaves(value: object) -> int:
    """The numbers and characters of a value. Raises Failed for what is not plain."""
    if type(value) is tuple:
        return 1 + sum(map(_leaves, value))
    if value is None or type(value) in (bool, float):
        return 1
    if type(value) is int:
        return 1 + value.bit_length() // 8
    if type(value) is str:
        return 1 + len(value)
    raise Failed(f"a value of type {type(value).__name__}")


def expression_text(random: Random) -> str:
    """A text with one expression in it, seldom none or several."""
    roll = random.random()
    code = expression(random, random.randint(0, 5)) if roll < 0.75 else hostile(random)
    if random.random() < 0.35:
        code = _tokens_mutated(random, code)
    roll = random.random()
    if roll < 0.85:
        return f"${{{code}}}"
    if roll < 0.95:
        return f"a{code[:3]}${{{code}}} b${{{expression(random, 1)}}}"
    return random.choice(["${", "${{", "$", "${}", "}", "${ }"]) + code + random.choice(["", "}"])


def expression(random: Random, depth: int) -> str:
    """An expression of the language's grammar, with now and then what is not of it."""

    def inner() -> str:
        return expression(random, depth - 1)

    if depth <= 0:
        return random.choice(random.choice((NUMBERS, NAMES[:12], NAMES[:12], NAMES, STRINGS[:2])))
    match random.randrange(14):
        case 0 | 1 | 2:
            return f"{inner()} {random.choice(BINARY[:7])} {inner()}"
        case 3:
            return f"({inner()}) {random.choice(BINARY)} ({inner()})"
        case 4:
            return f"{random.choice(('-', '+', 'not ', '~', '- -'))}{inner()}"
        case 5:
            return f"{inner()} {random.choice(COMPARE)} {inner()}"
        case 6:
            return f"{inner()} {random.choice(('and', 'or'))} {inner()}"
        case 7:
            return f"{inner()} if {inner()} else {inner()}"
        case 8 | 9:
            name = random.choice(FUNCTIONS if random.random() < 0.9 else OTHER_CALLS)
            return f"{name}({', '.join(inner() for _ in range(random.randint(0, 3)))})"
        case 10:
            items = ", ".join(inner() for _ in range(random.randint(0, 4)))
            return f"[{items}]" if random.random() < 0.7 else f"({items},)"
        case 11:
            return f"{random.choice(('widths', 'deep', inner()))}[{inner()}]"
        case 12:
            ends = (random.choice(("", inner())) for _ in range(random.randint(2, 3)))
            return f"{random.choice(('widths', 'deep', inner()))}[{':'.join(ends)}]"
        case _:
            return random.choice(STRINGS)


def hostile(random: Random) -> str:
    """An attempt to get out of the language, or to run long."""
    if random.random() < 0.7:
        return (
            random.choice(ESCAPES)
            .replace("{0}", expression(random, random.randint(0, 2)))
            .replace("{1}", expression(random, random.randint(0, 1)))
        )
    count = random.choice((5, 30, 59, 99, 130, 199, 399, 1_000, 30_000))
    return random.choice(
        (
            "(" * count + "1" + ")" * count,
            "[" * count + "]" * count,
            "-" * count + "1",
            "not " * count + "1",
            "2**" * count + "2",
            "9*" * count + "9",
            "1 if 1 else " * count + "1",
            "lambda: " * count + "1",
            "widths" + "[0:]" * count,
            "x" + ".a" * count,
            "[widths, " * count + "1" + "]" * count,
            "[" + "deep, " * count + "]",
            "n+" * count + "n",
            "{" * count,
            "'" * count,
            "\\" * count,
            "max(" * count + "1" + ")" * count,
            "1" * count,
            "1 < " * count + "1",
            "f'{" * count + "n" + "}'" * count,
        )
    )


_TOKEN = re.compile(r"\w+|\S")
CHARACTERS = (
    *("\0", "\x07", "\x1b", "\t", "\n", "\r", "\x85", "\u2028", "\xa0", "\u200b", "\ufeff"),
    *("é", "中", "😀", "\u0301", "\u202e", "\ud800", "٣", "²", "½", "ﬁ", "\x7f", "\ufffe"),
    *"\"'\\#:,-?[]{}()&*!|>%@`~$=<+.;_ ",
)
TOKENS = (*NUMBERS, *NAMES, *FUNCTIONS, *OTHER_CALLS, *BINARY, *COMPARE, *STRINGS, "lambda", "for",
          "if", "else", "and", "or", "not", ":=", "async", "await", "yield", "(", ")", "[", "]",
          ",", ":", ".", "*", "**", "=", "==")  # fmt: skip


def _tokens_mutated(random: Random, code: str) -> str:
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        found = _TOKEN.search(code, random.randrange(len(code) + 1))
        start, end = found.span() if found else (len(code), len(code))
        token = code[start:end]
        fresh = random.choice(
            ("", token * 2, random.choice(TOKENS), f" {random.choice(TOKENS)} {token}",
             random.choice(CHARACTERS), f"({token})", f"{token}.{random.choice(NAMES)}")
        )  # fmt: skip
        code = code[:start] + fresh + code[end:]
    return code


# ---------------------------------------------------------------- specs

SMALL = (
    """name: all_sections
input: [3, "${side}", 32]
params: {classes: 15, side: 32, widths: [8, 16], kind: relu}
variants:
  wide: {widths: [16, 32]}
  plain: {}
max_layers: 300
blocks:
  unit:
    params: {width: null, stride: 1, half: "${width // 2}"}
    layers:
      - conv: {out_channels: "${width}", kernel_size: 3, stride: "${stride}", padding: 1}
      - batch_norm
      - ${kind}
layers:
  - conv: {name: stem, out_channels: 8, kernel_size: 3}
  - repeat:
      times: ${len(widths)}
      index: i
      layers:
        - unit: {width: "${widths[i]}", stride: "${1 if i == 0 else 2}"}
        - residual:
            - unit: ${x.channels}
  - adaptive_avg_pool: 1
  - flatten
  - linear: ${classes}
train:
  data: synthetic_apparel
  augment: [horizontal_flip]
  normalize: {mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}
  loss: {cross_entropy: {label_smoothing: 0.1}}
  optimizer: {sgd: {lr: 1e-2, momentum: 0.9}}
  schedule: cosine
  epochs: 3
  batch_size: 16
  early_stop: 3
  seed: 1
""",
    """input: [3, 32, 32]
layers:
  - conv: {out_channels: 8, kernel_size: 3}
  - max_pool: 2
  - relu
  - flatten
  - linear: 10
""",
    """input: [1, 400]
params: {n: 3}
layers:
  - conv: {out_channels: 4, kernel_size: 80, stride: 4, bias: false}
  - batch_norm
  - max_pool: {kernel_size: 4, ceil_mode: true}
  - repeat:
      times: ${n}
      layers: [{conv: {out_channels: 8, kernel_size: 3, padding: same}}, relu]
  - dropout: {p: 0.2, when: "${n > 2}"}
  - linear: ${n}
""",
    """input: [6, 16, 16]
layers:
  - save: early
  - branches:
      layers:
        - - conv: {out_channels: 6, kernel_size: 1}
        - - max_pool: {kernel_size: 3, stride: 1, padding: 1}
          - relu
        - []
      merge: add
  - branches: {split: 2, layers: [[], [relu]], merge: concat}
  - concat: early
  - channel_shuffle: 2
  - residual: {layers: [{conv: {out_channels: 6, kernel_size: 1}}],
               shortcut: [{conv: {out_channels: 6, kernel_size: 1}}]}
  - add: [early]
  - multiply: early
""",
    """input: [2, 9, 9, 9]
layers:
  - conv: {out_channels: 4, kernel_size: [3, 2, 1], dilation: 2}
  - avg_pool: 2
  - conv_transpose: {out_channels: 2, kernel_size: 2, stride: 2, output_padding: 1}
  - lp_pool: {norm_type: 2.0, kernel_size: 2}
  - constant_pad: {padding: 1, value: 0.5}
  - upsample: {scale_factor: 2, mode: trilinear}
  - instance_norm
  - sequential: {name: head, layers: [{flatten: 1}, {linear: {out_features: 3}}]}
""",
    """input: [8]
layers: [{linear: 16}, relu, {layer_norm: 16}, {dropout: 0.5}, {prelu: {num_parameters: 1}},
         {unflatten: {dim: 1, unflattened_size: [4, 4]}}, {permute: [0, 2, 1]}, {glu: 1}]
""",
    """input: [4, 12, 12]
layers:
  - unfold: {kernel_size: 3, stride: 3}
  - fold: {output_size: 12, kernel_size: 3, stride: 3}
  - pixel_unshuffle: 2
  - pixel_shuffle: 2
  - group_norm: {num_groups: 2}
  - local_response_norm: 3
  - fractional_max_pool: {kernel_size: 2, output_ratio: 0.5}
  - reflection_pad: [1, 2, 0, 1]
  - softmax: 1
  - layer_scale: 1e-5
  - drop_path: 0.1
  - adaptive_max_pool: [2, null]
""",
    """input: [3, 64, 64]
params: {depth: 2, kind: max_pool}
blocks:
  a: {params: {n: 4}, layers: [{b: "${n}"}, {b: {n: 2}}]}
  b:
    params: {n: null}
    layers:
      - conv: {out_channels: 8, kernel_size: 3, padding: 1}
      - ${kind}: 1
      - identity: {name: "last"}
layers:
  - a
  - repeat: {times: "${depth}", name: rows, layers: [relu, {a: 3}]}
""",
    """input: [3, 8, 8]
layers:
  - conv: &c {out_channels: 4, kernel_size: 3, padding: 1}
  - conv: *c
  - repeat: {times: 100, layers: [{conv: *c}, relu]}
""",
    """params:
  a: [1, 2, 3]
  b: ["${a}", "${a}", "${a}"]
  c: ["${b}", "${b}", "${b}"]
  d: {e: "${c}"}
input: [3, 8, 8]
layers: [{conv: {out_channels: "${sum(a)}", kernel_size: "${b[0][1]}"}}, relu]
""",
)
WORDS = (
    *("name", "input", "params", "variants", "blocks", "layers", "max_layers", "train", "times"),
    *("index", "when", "split", "merge", "shortcut", "tensor", "out_channels", "in_channels"),
    *("kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode", "p"),
    *("output_size", "output_padding", "ceil_mode", "count_include_pad", "divisor_override"),
    *("out_features", "in_features", "num_features", "normalized_shape", "start_dim", "end_dim"),
    *("dim", "dims", "unflattened_size", "scale_factor", "size", "mode", "norm_type", "value"),
    *("data", "loss", "optimizer", "schedule", "epochs", "batch_size", "sgd", "adamw", "lr"),
    *("same", "valid", "concat", "add", "multiply", "zeros", "reflect", "circular", "cosine"),
    *("bilinear", "nearest", "align_corners", "x", "n", "classes", "unit", "early", "inplace"),
)
VALUES = (
    *("0", "1", "2", "3", "5", "7", "16", "31", "64", "-1", "-3", "2.0", "0.5", "1e3", "1e-3"),
    *("1e999", "1000000", "1000000000", "1000000000000000000", "9" * 39, "9" * 41, "9" * 5000),
    *("010", "0x10", "0o7", "1_000", "1:30", "1.5.2", "--1", "+1", "1e", ".5", "5.", "1e400"),
    *(".nan", ".inf", "-.inf", "~", "null", "true", "false", "yes", "no", "on", "True", "''"),
    *('"8"', "'relu'", '"\\e[31m"', '"\\0"', '"\\ud800"', '"\\x85"', "2001-01-01", "=", "<<"),
    *("[]", "{}", "[[]]", "[1]", "[1, 2]", "[1, 2, 3]", "[3, 3]", "[1, 2, 3, 4, 5]", "{a: 1}"),
    *("[null]", "[true]", "[relu]", "{relu: }", "[-1, 4]", "{x: 2}", "{name: a.b}", "{name: ''}"),
    *("&a 1", "*a", "*c", "&a [*a]", "!!python/object/apply:os.system [id]", "!!int 3", "!x"),
    *("!!binary aGk=", "!!str 3", "|", ">", "? a", "- -", "---", "...", "%YAML 1.1", "# none"),
    *("${n}", "${classes}", "${x.channels}", "${x.channels // 2}", "${x.height}", "${x.depth}"),
    *("${x}", "${i}", "${widths[i]}", "${widths}", "${1/0}", "${9**9**9}", "${'a'*9}", "${", "$"),
    *("${2 * x.channels}", "${x.width > 4}", "${x.channels % 2 == 0}", "${[1, 2]}", "${None}"),
    *("a${n}b", "${kind}", '"${n}"', '"${n"', "${n} ${n}", "${'relu'}", "${True}", "${-1}"),
    *("${(1,2,3)}", "${x.channels * 10**9}", "${int(1e18)}", "${1.0}", "${a}", "${side}"),
)
LINES = (
    *("- relu", "- flatten", "- max_pool: 2", "- conv: {out_channels: 8, kernel_size: 3}"),
    *("- batch_norm", "- linear: 10", "- save: early", "- concat: early", "- add: early", "- []"),
    *("- repeat: {times: 3, layers: [relu]}", "- residual: [relu]", "- sequential: []", "- unit"),
    *("- repeat: {times: 1000000000, layers: [relu]}", "- {relu: , tanh: }"),
    *("- relu: {when: false}", "- relu: {name: a b}"),
    *("- repeat: {times: 5000, layers: [tanh]}", "- repeat: {times: 150, layers: [{max_pool: 1}]}"),
    *("- unit: 8", "- a", "- adaptive_avg_pool: 1", "- upsample: 2", "- conv: [8, 3]", "- null"),
    *("- branches: [[relu], [tanh]]", "- branches: {split: 2, layers: [[], []]}", "- identity"),
    *("params: {n: 2}", "max_layers: 5", "name: other", "input: [3, 4, 4]", "variants: {a: {}}"),
    *("input: [3, 100000, 100000]", "input: [1]", "blocks: {}", "train: {epochs: 2}", "layers:"),
    *("? [a]", "<<: *c", "---", "...", "\t- relu", "'", '"', "[", "{", "&x", "*x", "- *c"),
    *("- conv_transpose: {out_channels: 9, kernel_size: 99, stride: 99}", "- glu", "- permute: []"),
)  # fmt: skip
OVERRIDES = ("params.n", "params.classes", "params.widths.0", "input", "layers", "layers.0", "name",
             "train.epochs", "layers.0.conv.out_channels", "params", "blocks.unit.layers.0",
             "", ".", "layers.99", "params.widths.x", "max_layers")  # fmt: skip


def specs(job: dict[str, Any], random: Random) -> Iterator[tuple[str, Case]]:
    from shapecalc import SpecError, loads, trace
    from shapecalc.layers import KINDS
    from shapecalc.report import table
    from shapecalc.report.diagnostics import render

    texts = [*SMALL] * 20
    texts += [path.read_text() for path in (ROOT / "specs").glob("*.yaml")] * 5
    texts += [path.read_text() for path in (ROOT / "specs/zoo").glob("*.yaml")]
    words = (*WORDS, *KINDS, *("sequential", "repeat", "residual", "branches"))
    shown = [table.as_table, table.as_json, table.as_csv, table.as_markdown, table.as_latex]

    def check(text: str, ways: dict[str, Any], say: int) -> str:
        try:
            spec = loads(text, file="fuzz.yaml", **ways)
            if spec.max_layers > 20_000:  # a limit that was lifted is none
                spec = spec.model_copy(update={"max_layers": 20_000})
            traced = trace(spec)
            if say % 4 == 1:
                spec.recipe()
            if say % 4 == 0:
                shown[say // 4 % len(shown)](traced).encode()
        except SpecError as error:
            render(error.diagnostics, color=bool(say % 2), width=40 + say).encode()
            return "refused"
        return "taken"

    for text in dict.fromkeys(texts):  # imports all kinds, and must be fine
        trace(loads(text))
    for _ in range(job["count"]):
        text = random.choice(texts)
        for _ in range(random.choice((1, 1, 1, 1, 1, 1, 2, 2, 3, 6))):
            text = _mutated(random, text, texts, words)
        ways: dict[str, Any] = {}
        if random.random() < 0.05:
            ways["variant"] = random.choice(("wide", "plain", "other", ""))
        if random.random() < 0.05:
            keys, values = OVERRIDES, (*VALUES, *words)
            ways["overrides"] = {random.choice(keys): random.choice(values)}
        shape = random.randrange(80)
        case = f"{text}\n# {ways}" if ways else text
        yield case, lambda text=text, ways=ways, say=shape: check(text, ways, say)


_WORD = re.compile(r"\$\{[^}\n]*\}|[\w.]+|[^\s\w]")


def _mutated(random: Random, text: str, texts: list[str], words: tuple[str, ...]) -> str:
    """A text with one thing changed."""
    roll = random.randrange(20)
    if roll < 8:  # a token
        found = _WORD.search(text, random.randrange(len(text) + 1))
        start, end = found.span() if found else (len(text), len(text))
        fresh = random.choice(random.choice((words, VALUES, VALUES)))
        if roll == 7:
            fresh = random.choice(("", text[start:end] * 2, f"{text[start:end]} {fresh}"))
        return text[:start] + fresh + text[end:]
    if roll < 10:  # characters
        at = random.randrange(len(text) + 1)
        fresh = random.choice(CHARACTERS) if roll == 8 else ""
        return text[:at] + fresh + text[at + random.choice((0, 1)) :]
    if roll == 10:
        return text[: random.randrange(len(text) + 1)]
    lines = text.split("\n")
    at = random.randrange(len(lines))
    line = lines[at]
    indent = " " * (len(line) - len(line.lstrip(" ")))
    match roll:
        case 11:
            del lines[at]
        case 12:
            lines.insert(random.randrange(len(lines)), line)
        case 13:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], line
        case 14:
            lines[at] = " " * random.choice((0, 1, 2, 4, 6, 90)) + line.lstrip(" ")
        case 15:
            end = at + random.randint(1, 6)
            shift = random.choice((-2, 2, 4))
            lines[at:end] = [" " * shift + x if shift > 0 else x[-shift:] for x in lines[at:end]]
        case 16 | 17:
            lines.insert(at, indent + random.choice(LINES))
        case 18:
            other_lines = random.choice(texts).split("\n")
            lines = [*lines[:at], *other_lines[random.randrange(len(other_lines)) :]]
        case _:  # a piece again, at another depth
            piece = lines[at : at + random.randint(1, 12)]
            deeper = " " * random.choice((0, 2, 4, 6))
            to = random.randrange(len(lines) + 1)
            lines[to:to] = [deeper + x for x in piece] * random.choice((1, 1, 2, 30))
    return "\n".join(lines)


# ---------------------------------------------------------------- the campaign


def jobs(part: str, scale: float, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The chunks of a part, by the rows of the result."""
    if part == "pools":
        step = max(1, round(1 / scale))
        return {part: [{"part": part, "kernel": k, "step": step, "seed": seed} for k in KERNELS]}
    rows: tuple[dict[str, str], ...] = ({"part": part},)
    if part == "layers":
        from strategies import FAMILIES

        rows = tuple({"part": part, "family": family} for family in FAMILIES)
    count = max(1, round(PARTS[part] * scale))
    return {
        " ".join(row.values()): [
            {**row, "count": min(CHUNK[part], count - start), "seed": seed, "start": start}
            for start in range(0, count, CHUNK[part])
        ]
        for row in rows
    }


def in_process(job: dict[str, Any]) -> dict[str, Any]:
    """A chunk run by itself; what became of the process is a failure too."""
    command = [sys.executable, __file__, "--chunk", json.dumps(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CHUNK_SECONDS, env=environment
        )
        if done.returncode == 0:
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return result
        said = f"the process ended with {done.returncode}: {done.stderr[-2000:]}"
    except subprocess.TimeoutExpired:
        said = f"the process was not done after {CHUNK_SECONDS} s"
    failure = {"kind": said, "count": 1, "text": shlex.join(command)}
    return {"counts": {"failed": 1}, "failures": [failure], "seen": "", "slowest": 0, "grown": 0,
            "cpu": 0}  # fmt: skip


def row(name: str, chunks: list[dict[str, Any]], pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Run the chunks of one row of the result, and add them up."""
    started = time.perf_counter()
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    failures: dict[str, dict[str, Any]] = {}
    slowest = grown = cpu = 0
    for number, done in enumerate(pool.map(in_process, chunks), 1):
        counts.update(done["counts"])
        digests = done["seen"]
        seen.update(digests[i : i + 16] for i in range(0, len(digests), 16))
        slowest, grown = max(slowest, done["slowest"]), max(grown, done["grown"])
        cpu += done["cpu"]
        for failure in done["failures"]:
            known = failures.setdefault(failure["kind"], {**failure, "count": 0})
            known["count"] += failure["count"]
            known["text"] = min(known["text"], failure["text"], key=len)
        print(f"  {name} {number}/{len(chunks)}: {dict(counts)}", file=sys.stderr, flush=True)
    run, failed = counts.pop("run", 0), counts.pop("failed", 0)
    smallest = sorted(failures.values(), key=lambda failure: len(failure["text"]))
    return {
        "asked": sum(job["count"] for job in chunks) if "count" in chunks[0] else run,
        "run": run,
        "distinct": len(seen),
        **{kind: counts[kind] for kind in ("taken", "refused", *sorted(counts))},
        "failures": failed,
        "smallest": smallest[:KEPT] if len(smallest) > KEPT else smallest,
        "slowest_seconds": slowest,
        "most_extra_mib": round(grown / 2**20, 1),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(cpu, 1),
    }


def write(result: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "fuzz.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "fuzz.md").write_text(as_markdown(result))


def as_markdown(result: dict[str, Any]) -> str:
    heads = ("part", "cases", "distinct", "taken", "refused", "too large", "failures", "seconds")
    lines = [
        "# Fuzz campaign",
        "",
        "Repeat with `make fuzz`, or one part with `.venv/bin/python benchmarks/fuzz.py PART` "
        "(`--seed` for other cases, `--scale 0.01` for a short run).",
        "",
        "| " + " | ".join(heads) + " |",
        "|---" + "|---:" * (len(heads) - 1) + "|",
    ]
    for name, found in result["parts"].items():
        cells = [name, *(found.get(key, 0) for key in ("run", *heads[2:-1]))]
        cells.append(round(found["seconds"]))
        texts = [f"{cell:,}" if isinstance(cell, int) else cell for cell in cells]
        lines.append("| " + " | ".join(texts) + " |")
    lines.append("")
    for name, found in result["parts"].items():
        if name in ("specs", "expressions"):
            lines.append(
                f"- {name}: the slowest took {found['slowest_seconds']:g} s of process time; a "
                f"process grew by at most {found['most_extra_mib']:g} MiB."
            )
        for failure in found["smallest"]:
            said = failure["kind"].strip().splitlines()[-1]
            lines.append(f"- {name} failed: {said} ({failure['count']:,})")
    versions = ", ".join(f"{name} {text}" for name, text in result["versions"].items())
    dates = sorted({found["date"] for found in result["parts"].values()})
    seeds = sorted({found["seed"] for found in result["parts"].values()})
    return "\n".join(
        [
            *lines,
            "",
            "Pools, graphs and layers are compared with torch run eagerly on the CPU: every shape, "
            "and what is taken and refused. Distinct cases of a family are fewer than those run "
            "where there are not as many. Expressions and specs must give a value or the "
            "language's own error, without a warning, within 1 s and 200 MB.",
            "",
            f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, seed "
            f"{', '.join(map(str, seeds))}, {versions}, {result['cpu']}.",
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="The full fuzz campaign.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--chunk", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.chunk:
        print(json.dumps(chunk(given.chunk)))
        return 0
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    out = given.out or (ROOT / "benchmarks/results" if given.scale == 1 else None)
    from show import cpu

    result: dict[str, Any] = {"cpu": f"{cpu()}, {given.jobs} processes", "parts": {}}
    result["versions"] = {"Python": platform.python_version()} | {
        name: version(name) for name in ("torch", "hypothesis", "pyyaml", "pydantic")
    }
    if out and given.parts and (out / "fuzz.json").exists():  # the other parts stay
        result["parts"] = json.loads((out / "fuzz.json").read_text())["parts"]
    failed = 0
    with ThreadPoolExecutor(given.jobs) as pool:
        for part in (part for part in PARTS if part in (given.parts or PARTS)):
            for name, chunks in jobs(part, given.scale, given.seed).items():
                found = {
                    **row(name, chunks, pool),
                    "date": datetime.now(UTC).date().isoformat(),
                    "seed": given.seed,
                    "command": shlex.join(["python", "benchmarks/fuzz.py", *sys.argv[1:]]),
                }
                failed += found["failures"]
                result["parts"][name] = found
                if out:
                    write(result, out)
                else:
                    print(name, json.dumps(found, indent=2))
    print(as_markdown(result))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
