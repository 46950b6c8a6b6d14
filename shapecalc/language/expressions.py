"""`${...}`: arithmetic on numbers, words, booleans and lists of them, and nothing else of Python.

Python's own parser makes the tree; each node is then evaluated here by name, within bounds on the
length of the text, the number of nodes and the size of every number, so an expression can neither
reach an object's attributes nor run long.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from shapecalc.diagnostics import Fault, nearest

Value = int | float | bool | str | None | tuple["Value", ...]

MAX_LENGTH = 400
MAX_NODES = 120
MAX_BITS = 256
MAX_ITEMS = 1_000
"""Values in a list, those of the lists in it included: lists of lists of lists grow fast."""
MAX_TEXT = 10_000
"""Characters of a text with expressions in it, which may stand for such texts again."""
MAX_DIGITS = 80

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, items: item in items,
    ast.NotIn: lambda item, items: item not in items,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "round": lambda value, digits=0: _rounded(value, digits),
    "ceil": math.ceil,
    "floor": math.floor,
    "len": len,
    "sum": lambda values: _total(values),
    "int": int,
    "abs": abs,
}
_SAID: dict[type[ast.AST], str] = {
    ast.Attribute: "an attribute",
    ast.Lambda: "a lambda",
    ast.JoinedStr: "an f-string",
    ast.ListComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.Dict: "a mapping",
    ast.Set: "a set",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
    ast.LShift: "a shift",
    ast.RShift: "a shift",
    ast.BitAnd: "a bit operator",
    ast.BitOr: "a bit operator",
    ast.BitXor: "a bit operator",
    ast.Invert: "a bit operator",
    ast.MatMult: "a matrix product",
    ast.Is: "'is'",
    ast.IsNot: "'is not'",
}


def has_expression(value: Any) -> bool:
    """Whether `${` stands anywhere in plain data."""
    if isinstance(value, str):
        return "${" in value
    if isinstance(value, dict):
        return any(map(has_expression, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_expression, value))
    return False


def evaluate(text: str, scope: Mapping[str, Any]) -> Value:
    """The value of a text with `${...}` in it.

    Alone, an expression may be of any type; within other text it is written out. Raises Fault.
    """
    start = text.find("${")
    if start < 0:
        return text
    if start == 0 and text.find("}") == len(text) - 1:
        return _run(text[2:-1], scope)
    out: list[str] = []
    written = len(text)
    while start >= 0:
        if written > MAX_TEXT:
            raise Fault("E108", f"a text of more than {MAX_TEXT:,} characters")
        end = text.find("}", start)
        if end < 0:
            raise Fault("E108", f"'${{' without its '}}' in {_short(text)}")
        out += [text[:start], str(_run(text[start + 2 : end], scope))]
        written += len(out[-1])
        text = text[end + 1 :]
        start = text.find("${")
    whole = "".join(out) + text
    if len(whole) > MAX_TEXT:
        raise Fault("E108", f"a text of more than {MAX_TEXT:,} characters")
    return whole


def resolve(value: Any, scope: Mapping[str, Any]) -> Any:
    """Plain data with every expression in it evaluated. A Fault's argument is the path to it."""
    if isinstance(value, str):
        return evaluate(value, scope) if "${" in value else value
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        out: dict[Any, Any] = {}
        for key, item in items:
            try:
                out[key] = resolve(item, scope)
            except Fault as fault:
                fault.argument = f"{key}.{fault.argument}".rstrip(".")
                raise
        return out if isinstance(value, dict) else type(value)(out.values())
    return value


Compiled = Callable[[Mapping[str, Any]], Any]
"""An expression, ready to be evaluated: takes the scope."""


def names(value: Any) -> frozenset[str]:
    """The names that the expressions in plain data look up, of x with the size that they ask for,
    such as `x.channels`: its value follows from theirs. Raises Fault.
    """
    found: set[str] = set()
    if isinstance(value, str):
        for part in value.split("${")[1:]:
            found |= _compiled(part.partition("}")[0].strip())[1]
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            found |= names(item)
    return frozenset(found)


def _run(text: str, scope: Mapping[str, Any]) -> Value:
    compiled, _ = _compiled(text.strip())
    try:
        value: Value = compiled(scope)
        return value
    except Fault:
        raise
    except ZeroDivisionError:
        raise _fault(text, "divides by zero") from None
    except (ArithmeticError, TypeError, ValueError, IndexError, KeyError) as error:
        raise _fault(text, str(error)) from None


@lru_cache(maxsize=4096)
def _compiled(text: str) -> tuple[Compiled, frozenset[str]]:
    """An expression as nested functions, and the names in it."""
    if len(text) > MAX_LENGTH:
        raise _fault(text, f"has {len(text):,} characters, of at most {MAX_LENGTH}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that of the backslash in '\d'
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _fault(text, "is not an expression") from None
    nodes = list(ast.walk(tree))
    if len(nodes) > MAX_NODES:
        raise _fault(text, f"has more than {MAX_NODES} parts")
    asked = {f"x.{node.attr}" for node in nodes if isinstance(node, ast.Attribute)}
    named = {node.id for node in nodes if isinstance(node, ast.Name)} - {"x"}
    return _compile(tree), frozenset(asked | named)


def _compile(node: ast.expr) -> Compiled:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            constant = _bounded(value)
            return lambda scope: constant
        case ast.Name(id=name):
            return lambda scope: _lookup(name, scope)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _binary(op, _compile(left), _compile(right))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _unary(_UNARY[type(op)], _compile(operand))
        case ast.BoolOp(op=op, values=values):
            return _boolean(isinstance(op, ast.Or), [_compile(value) for value in values])
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(
            type(op) in _COMPARE for op in ops
        ):
            return _comparison(
                [_COMPARE[type(op)] for op in ops], [_compile(item) for item in (left, *rest)]
            )
        case ast.IfExp(test=test, body=body, orelse=orelse):
            chosen, then, other = _compile(test), _compile(body), _compile(orelse)
            return lambda scope: then(scope) if chosen(scope) else other(scope)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            function, given = _FUNCTIONS[name], [_compile(arg) for arg in args]
            return lambda scope: _bounded(function(*[arg(scope) for arg in given]))
        case ast.Call(func=ast.Name(id=name)):
            known = ", ".join(sorted(_FUNCTIONS))
            raise Fault("E108", f"an expression cannot call {name}", help=f"it can call {known}")
        case ast.List(elts=items) | ast.Tuple(elts=items):
            each = [_compile(item) for item in items]
            return lambda scope: _listed(tuple([item(scope) for item in each]))
        case ast.Subscript(value=value, slice=index):
            return _subscript(_compile(value), index)
        case ast.Attribute(value=ast.Name(id="x"), attr=attribute):
            return lambda scope: _attribute(scope, attribute)
    raise Fault("E108", f"{_construct(node)} cannot stand in an expression: {ast.unparse(node)}")


def _lookup(name: str, scope: Mapping[str, Any]) -> Any:
    if name not in scope or name == "x":
        if name == "x" and name in scope:
            raise Fault("E108", "x is a tensor: write x.channels, x.height, x.width ...")
        close = nearest(name, scope)
        known = ", ".join(k for k in scope if k != "x")
        help = f"did you mean {close}?" if close else f"known here: {known}" if known else ""
        raise Fault("E108", f"nothing is called {name!r} here", help=help)
    value = scope[name]
    return freeze(value) if isinstance(value, list) else value


def _attribute(scope: Mapping[str, Any], attribute: str) -> int:
    sizes: Mapping[str, int] | None = scope.get("x")
    if sizes is None:
        raise Fault("E108", f"x.{attribute} is known only in layers, where x is the tensor at hand")
    if attribute not in sizes:
        raise Fault("E108", f"x has no {attribute} here", help=f"x has {', '.join(sizes)}")
    return sizes[attribute]


def _binary(op: ast.operator, left: Compiled, right: Compiled) -> Compiled:
    function, is_power = _BINARY[type(op)], isinstance(op, ast.Pow)

    def value(scope: Mapping[str, Any]) -> Any:
        a, b = left(scope), right(scope)
        for operand in (a, b):
            if not isinstance(operand, int | float):
                raise Fault("E108", f"arithmetic needs numbers, not {operand!r}")
        if is_power and abs(b) * max(1, math.log2(abs(a) or 1)) > MAX_BITS:
            raise Fault("E108", f"{a}**{b} is too large")
        result = function(a, b)
        if isinstance(result, complex):
            raise Fault("E108", f"{a}**{b} is not a real number")
        return _bounded(result)

    return value


def _unary(function: Callable[[Any], Any], operand: Compiled) -> Compiled:
    return lambda scope: _bounded(function(operand(scope)))


def _boolean(stop: bool, values: list[Compiled]) -> Compiled:
    """`or` stops at the first value that is true, `and` at the first that is not."""

    def value(scope: Mapping[str, Any]) -> Any:
        result: Any = None
        for each in values:
            result = each(scope)
            if bool(result) is stop:
                break
        return result

    return value


def _comparison(holds: list[Callable[[Any, Any], bool]], values: list[Compiled]) -> Compiled:
    def value(scope: Mapping[str, Any]) -> bool:
        given = [each(scope) for each in values]
        return all(held(a, b) for held, a, b in zip(holds, given, given[1:], strict=False))

    return value


def _subscript(value: Compiled, index: ast.expr) -> Compiled:
    is_slice = isinstance(index, ast.Slice)
    ends = (index.lower, index.upper, index.step) if isinstance(index, ast.Slice) else (index,)
    compiled = [end and _compile(end) for end in ends]

    def item(scope: Mapping[str, Any]) -> Any:
        items = value(scope)
        if not isinstance(items, tuple):
            raise Fault("E108", f"only a list can be indexed, not {items!r}")
        at: list[Any] = [end and end(scope) for end in compiled]
        return items[slice(*at)] if is_slice else items[at[0]]

    return item


def _rounded(value: Any, digits: int) -> Any:
    """As Python's round, to at most so many digits as a number can have."""
    if abs(digits) > MAX_DIGITS:
        raise Fault("E108", f"round to {digits} digits, of at most {MAX_DIGITS}")
    return round(value, digits) if digits else round(value)


def _total(values: Any) -> Any:
    if not isinstance(values, tuple) or not {int, float, bool}.issuperset(map(type, values)):
        raise Fault("E108", f"sum needs a list of numbers, not {values!r}")
    return sum(values)


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Fault("E108", f"a number of more than {MAX_BITS} bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise Fault("E108", f"the result is {value}, not a number")
    return value


def freeze(value: Any) -> Any:
    """A value for a scope: lists as tuples, so that an index is the only thing that reaches into
    them. Raises Fault for too many values."""
    if isinstance(value, list | tuple):
        return _listed(tuple(map(freeze, value)))
    if isinstance(value, dict):
        return _listed({key: freeze(item) for key, item in value.items()})
    return value


def _listed(values: Any) -> Any:
    """A tuple or mapping, when it has no more values than a list may have."""
    if _count(values) > MAX_ITEMS:
        raise Fault("E108", f"a list of more than {MAX_ITEMS:,} values")
    return values


def _count(values: Any) -> int:
    items = values.values() if isinstance(values, dict) else values
    return len(values) + sum(_count(item) for item in items if isinstance(item, tuple | dict))


def _construct(node: ast.AST) -> str:
    inner: ast.AST = node
    if isinstance(node, ast.BinOp | ast.UnaryOp):
        inner = node.op
    elif isinstance(node, ast.Compare):
        inner = next(op for op in node.ops if type(op) not in _COMPARE)
    elif isinstance(node, ast.Subscript):
        inner = node.slice
    elif isinstance(node, ast.Call):
        return "a call of anything but a named function"
    elif isinstance(node, ast.Constant):
        return f"a {type(node.value).__name__}"
    return _SAID.get(type(inner), type(inner).__name__.lower())


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _fault(text: str, reason: str) -> Fault:
    return Fault("E108", f"${{{_short(text)}}} {reason}")
