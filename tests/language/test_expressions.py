"""`${...}`: what it computes, and that nothing else of Python can be reached through it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from clock import within
from hypothesis import given
from hypothesis import strategies as st
from strategies import FUZZ

from shapecalc.diagnostics import Fault
from shapecalc.language.expressions import (
    MAX_BITS,
    MAX_ITEMS,
    MAX_LENGTH,
    evaluate,
    has_expression,
    resolve,
)

SCOPE: dict[str, Any] = {
    "a": 7,
    "b": 2,
    "half": 0.5,
    "yes": True,
    "word": "same",
    "sizes": [8, 16, [32, 64]],
    "nothing": None,
    "x": {"channels": 3, "height": 32, "width": 16},
}


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """An expression that runs long fails its test, not the whole run."""

    def stop(*_: object) -> None:
        raise TimeoutError("an expression ran for 10 s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, 10)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("1 + 2*3", 7), ("(1 + 2)*3", 9), ("7 // 2", 3), ("7 % 4", 3), ("7 / 2", 3.5)],
        *[("2**10", 1024), ("-a", -7), ("+a", 7), ("half * 4", 2.0), ("1e-3", 0.001)],
        *[("a > b", True), ("1 < b <= 2 < 3", True), ("a == 7.0", True), ("a != 7", False)],
        *[("not yes", False), ("yes and b", 2), ("0 or a", 7), ("a >= 7 and b < 2", False)],
        *[("a if yes else b", 7), ("'same' if b == 1 else 'valid'", "valid")],
        *[
            ("sizes[:2]", (8, 16)),
            ("sizes[1:][0]", 16),
            ("sizes[::-1][1]", 16),
            ("sizes[b:]", ((32, 64),)),
        ],
        *[("sum(sizes[:2])", 24), ("sum([])", 0), ("sum([0.5, 1])", 1.5)],
        *[("min(a, b)", 2), ("max(a, b, 9)", 9), ("round(half)", 0), ("round(2.567, 1)", 2.6)],
        *[("ceil(a / b)", 4), ("floor(a / b)", 3), ("len(sizes)", 3), ("int(3.9)", 3)],
        *[("abs(b - a)", 5), ("max(sizes[0], sizes[1])", 16), ("min([4, 3])", 3)],
        *[("sizes[0]", 8), ("sizes[-1][1]", 64), ("sizes[2]", (32, 64)), ("[1, a][1]", 7)],
        *[("x.channels * 2", 6), ("x.height // x.width", 2), ("word", "same")],
        *[("word == 'same'", True), ("a in [1, 7]", True), ("8 not in sizes", False)],
        *[("nothing", None), ("nothing == None", True), ("true_ if 0 else 1", 1)],
        *[("0 and 1/0", 0), ("1 or undefined", 1), (" a ", 7)],
    ],
)
def test_expression_has_its_value_and_type(text: str, value: Any) -> None:
    found = evaluate(f"${{{text}}}", SCOPE)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("stage${b}", "stage2"),
        ("${a}x${b}", "7x2"),
        ("a${word}b", "asameb"),
        ("$a {b}", "$a {b}"),
        ("$", "$"),
    ],
)
def test_expression_within_text_is_written_out(text: str, value: str) -> None:
    assert evaluate(text, SCOPE) == value


def test_resolve_reaches_into_plain_data_and_names_the_path_of_a_fault() -> None:
    data = {"kernel_size": ["${b}", 3], "groups": {"deep": "${a}"}, "rest": True}
    assert resolve(data, SCOPE) == {"kernel_size": [2, 3], "groups": {"deep": 7}, "rest": True}
    with pytest.raises(Fault, match="divides by zero") as caught:
        resolve({"kernel_size": [1, {"deep": "${1/0}"}]}, SCOPE)
    assert caught.value.argument == "kernel_size.1.deep"


@pytest.mark.parametrize("data", ["${a}", ["x", "${"], {"k": ["${a}"]}, ({"k": {"l": "a${b}"}},)])
def test_expressions_are_found_anywhere_in_plain_data(data: Any) -> None:
    assert has_expression(data)
    assert not has_expression([1, "a", {"b": None}, "$b", "{b}"])


ESCAPES = [
    ("().__class__", "an attribute"),
    ("''.__class__.__mro__[1].__subclasses__()", "a call"),
    ("a.real", "an attribute"),
    ("a.__class__", "an attribute"),
    ("word.upper()", "a call"),
    ("x.__class__", "x has no __class__"),
    ("x.channels.real", "an attribute"),
    ("x.items", "x has no items"),
    ("x", "x is a tensor"),
    ("x['channels']", "x is a tensor"),
    ("__import__('os')", "cannot call __import__"),
    ("open('/etc/passwd')", "cannot call open"),
    ("eval('1')", "cannot call eval"),
    ("exec('1')", "cannot call exec"),
    ("print(1)", "cannot call print"),
    ("getattr(a, 'real')", "cannot call getattr"),
    ("globals()", "cannot call globals"),
    ("min.__self__", "an attribute"),
    ("min", "nothing is called 'min'"),
    ("__builtins__", "nothing is called '__builtins__'"),
    ("(lambda: 1)()", "a call"),
    ("lambda: 1", "a lambda"),
    ("min(1, key=abs)", "cannot call min"),
    ("max(*sizes)", "a star"),
    ("[*sizes]", "a star"),
    ("min(**{})", "cannot call min"),
    ("f'{a}'", "an f-string"),
    ("[i for i in sizes]", "a comprehension"),
    ("{i for i in sizes}", "a comprehension"),
    ("{i: i for i in sizes}", "a comprehension"),
    ("max(i for i in sizes)", "a comprehension"),
    ("{1, 2}", "a set"),
    ("{'a': 1}", "a mapping"),
    ("(n := 3)", "an assignment"),
    ("word[0]", "only a list can be indexed"),
    ("'abc'[0]", "only a list can be indexed"),
    ("a[0]", "only a list can be indexed"),
    ("1 << 1000000", "a shift"),
    ("1 >> 2", "a shift"),
    ("a & b", "a bit operator"),
    ("a | b", "a bit operator"),
    ("a ^ b", "a bit operator"),
    ("~a", "a bit operator"),
    ("a @ b", "a matrix product"),
    ("a is b", "'is'"),
    ("b'bytes'", "a bytes"),
    ("1j", "a complex"),
    ("...", "a ellipsis"),
    ("await a", "await"),
    ("(yield a)", "yield"),
    ("import os", "is not an expression"),
    ("a = 1", "is not an expression"),
    ("a; b", "is not an expression"),
    ("", "is not an expression"),
    ("a +", "is not an expression"),
    ("\0", "is not an expression"),
]


@pytest.mark.parametrize(("text", "construct"), ESCAPES)
def test_escape_is_refused_and_its_construct_named(text: str, construct: str) -> None:
    with pytest.raises(Fault) as caught:
        evaluate(f"${{{text}}}" if "}" not in text else f"${{{text}}} ", SCOPE)
    assert caught.value.code == "E108"
    if "}" not in text:
        assert construct.lower() in caught.value.message.lower()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9**9**9", "too large"),
        ("9**999999999", "too large"),
        ("2**-9999999999", "too large"),
        ("10.0**300 * 10.0**300", ""),
        ("(-8)**0.5", "not a real number"),
        ("0**-1", "divides by zero"),
        ("2**200 * 2**200", f"{MAX_BITS} bits"),
        ("9" * 100, f"{MAX_BITS} bits"),
        ("1e999", "not a number"),
        ("1e308 * 10", "not a number"),
        ("1/0", "divides by zero"),
        ("1//0", "divides by zero"),
        ("1%0", "divides by zero"),
        ("'x' * 10**9", "arithmetic needs numbers"),
        ("'x' + 'y'", "arithmetic needs numbers"),
        ("'%9999999d' % a", "arithmetic needs numbers"),
        ("sizes * 10**9", "arithmetic needs numbers"),
        ("[1] + [2]", "arithmetic needs numbers"),
        ("-word", ""),
        ("1 < word", ""),
        ("len(a)", ""),
        ("min()", ""),
        ("int('12x')", ""),
        ("ceil(1e400)", "not a number"),
        ("round(1, 2, 3)", ""),
        ("sizes[3]", ""),
        ("sizes[half]", ""),
        ("sizes[word]", ""),
        ("many", f"more than {MAX_ITEMS:,} values"),
        (f"[{'three, ' * 50}]", f"more than {MAX_ITEMS:,} values"),
        ("a" * (MAX_LENGTH + 1), f"at most {MAX_LENGTH}"),
        ("+".join("1" * 150), "more than"),
        ("-" * 390 + "1", "more than"),
        ("not " * 90 + "1", ""),
        ("int('9' * 99)", "arithmetic needs numbers"),
        ("round(9, -9**9)", ""),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_expression_beyond_the_bounds_is_a_fault_at_once(text: str, words: str) -> None:
    with within(0.5), pytest.raises(Fault) as caught:
        evaluate(f"${{{text}}}", {**SCOPE, "many": [1] * (MAX_ITEMS + 1), "three": (1,) * 30})
    assert caught.value.code == "E108"
    assert words in caught.value.message
    assert len(caught.value.message) < 1000


def test_nested_parentheses_are_no_reason_to_fail() -> None:
    assert evaluate("${" + "(" * 90 + "1" + ")" * 90 + "}", {}) == 1


def test_unclosed_expression_is_a_fault() -> None:
    with pytest.raises(Fault, match="without its '}'"):
        evaluate("x ${a", SCOPE)


def test_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(Fault, match="nothing is called 'clases'") as caught:
        evaluate("${clases}", {"classes": 3})
    assert caught.value.help == "did you mean classes?"


TOKENS = st.sampled_from(
    [*"ab012+-*/%()[],.<{}:=#\\@~", "half", "word", "sizes", "x", "x.height", "nothing", "9", "1e9",
     "//", "**", "==", "<<", "and", "or", "not", "if", "else", "in", "is", "min(", "max(", "len(",
     "round(", "int(", "'w'", "lambda", "f'{a}'"]
)  # fmt: skip


@FUZZ
@given(st.lists(TOKENS, max_size=12).map(" ".join) | st.text(max_size=30))
def test_any_text_has_a_value_or_a_fault(text: str) -> None:
    with suppress(Fault):
        assert isinstance(evaluate(f"${{{text}}}", SCOPE), int | float | str | tuple | None)


@FUZZ
@given(st.integers(-99, 99), st.integers(-99, 99), st.sampled_from(["+", "-", "*", "//", "%", "<"]))
def test_arithmetic_on_integers_is_pythons(left: int, right: int, operator: str) -> None:
    expression = f"l {operator} r"
    if right == 0 and operator in ("//", "%"):
        with pytest.raises(Fault, match="divides by zero"):
            evaluate(f"${{{expression}}}", {"l": left, "r": right})
    else:
        value = evaluate(f"${{{expression}}}", {"l": left, "r": right})
        assert value == eval(expression, {"l": left, "r": right})


@pytest.mark.parametrize(
    ("text", "value"), [(r"'\d'", r"\d"), ("1if a else 2", 1), ("[0x1for a]", (31,))]
)
def test_python_warns_of_nothing(text: str, value: Any) -> None:
    """Warnings are errors here; of these, later Pythons warn more loudly."""
    with suppress(Fault):
        assert evaluate(f"${{{text}}}", SCOPE) == value
