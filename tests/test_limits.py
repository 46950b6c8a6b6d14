"""Specs made to hurt, given to a real process with little memory and little time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from clock import within

from shapecalc import check, loads

MEMORY = 200 * 1024
"""KiB of address space, in which all that is allocated lies."""
SECONDS = 3
"""Of CPU time; on an idle core each takes less than 1."""

CONV = "  - conv: {out_channels: 8, kernel_size: 3}\n"
LEVELS = range(1, 12)


def alias_bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in LEVELS]
    return "\n".join(lines)


def block_bomb(layers: str) -> str:
    """Blocks, each of which calls the one before ten times: 10**11 layers."""
    lines = [f"input: [3]\nblocks:\n  b0: {{layers: {layers}}}"]
    lines += [f"  b{n}: {{layers: [{', '.join([f'b{n - 1}'] * 10)}]}}" for n in LEVELS]
    return "\n".join([*lines, "layers: [b11]"])


def block_chain(length: int) -> str:
    lines = ["input: [3]\nblocks:\n  b0: {layers: [relu]}"]
    lines += [f"  b{n}: {{layers: [b{n - 1}]}}" for n in range(1, length)]
    return "\n".join([*lines, f"layers: [b{length - 1}]"])


def show(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`python -m shapecalc show` under the limits; it is killed where it passes them."""
    (folder / "spec.yaml").write_text(text)
    limits = f'ulimit -v {MEMORY}; ulimit -t {SECONDS}; exec "$@"'
    done = subprocess.run(
        ["sh", "-c", limits, "sh", sys.executable, "-m", "shapecalc", "show", "spec.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    assert "MemoryError" not in done.stderr
    return done


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(alias_bomb(), "more than 200,000 values", id="alias bomb"),
        pytest.param("input: [3]\nlayers: &a [*a]", "contains itself", id="cyclic alias"),
        pytest.param(
            "input: [3]\nlayers: [sequential: &a [relu, sequential: *a]]",
            "contains itself",
            id="cyclic alias deeper",
        ),
        pytest.param("[" * 10_000 + "]" * 10_000, "more than 60 deep", id="10,000 levels of lists"),
        pytest.param("{a: " * 10_000, "more than 60 deep", id="10,000 levels of keys"),
        pytest.param(
            "input: [3]\nlayers:\n  " + "- " * 10_000 + "relu",
            "more than 60 deep",
            id="10,000 levels of dashes",
        ),
        pytest.param("a: " + "x" * 10**7, "more than 4,194,304 bytes", id="10 MB of a word"),
        pytest.param(
            "input: [3, 8, 8]\nlayers:\n" + CONV * (10**7 // len(CONV)),
            "more than 4,194,304 bytes",
            id="10 MB of layers",
        ),
        pytest.param("# x\n" * (10**7 // 4), "more than 4,194,304 bytes", id="10 MB of comments"),
        pytest.param(block_bomb("[relu]"), "more than 20,000 layers", id="block bomb"),
        pytest.param(block_bomb("[]"), "more than 20,000 layers", id="block bomb of nothing"),
        pytest.param(block_chain(5000), "more than 100 deep", id="5,000 blocks in one another"),
        pytest.param(
            "input: [4]\nlayers: [repeat: {times: 1000000000, layers: [relu]}]",
            "more than 20,000 layers",
            id="repeat",
        ),
        pytest.param(
            "input: [4]\nlayers: [repeat: {times: 9999, layers: "
            "[repeat: {times: 9999, layers: [repeat: {times: 9999, layers: []}]}]}]",
            "more than 20,000 layers",
            id="nested repeats",
        ),
        pytest.param("input: [4]\nlayers: [linear: '${9**9**9}']", "too large", id="power"),
        pytest.param(
            "input: [3, 32, 32]\nlayers: [repeat: {times: 9, layers: [{residual: "
            "[conv_transpose: {out_channels: 3, kernel_size: 99, stride: 99}]}]}]",
            "write shortcut",
            id="a residual of huge sizes",
        ),
    ],
)
def test_a_spec_without_end_is_one_error_at_once(text: str, said: str, tmp_path: Path) -> None:
    done = show(text, tmp_path)
    assert done.returncode == 1, done
    assert said in done.stderr
    assert done.stderr.count("error[") == 1


def test_a_large_spec_and_huge_sizes_are_shown_within_the_limits(tmp_path: Path) -> None:
    conv = "  - conv: {out_channels: 1000000000, kernel_size: 3, padding: 1}\n"
    huge = show(f"input: [1000000000, 1000000, 1000000]\nlayers:\n{conv}", tmp_path)
    assert huge.returncode == 0, huge
    assert "9,000,000,001,000,000,000 params" in huge.stdout
    assert "9,000,000,000,000,000,000,000,000,000,000 MACs" in huge.stdout


def test_a_huge_stride_is_searched_for_a_padding_no_longer_than_it_helps() -> None:
    layer = "conv: {out_channels: 1, kernel_size: 1000000000, stride: 999999999}"
    with within(1):
        found = check(loads(f"input: [1, {1_500_000_000}]\nlayers: [{layer}]"))
        assert "W104" in {lint.code for lint in found}
