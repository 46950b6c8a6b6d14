"""How the layers of two networks are put beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shapecalc import Spec, load, trace
from shapecalc.analysis import diff as module
from shapecalc.analysis.diff import Difference, diff

ZOO = Path(__file__).parents[2] / "specs" / "zoo"


def found(first: list[Any], second: list[Any]) -> Difference:
    return diff(*(trace(Spec(input=(3, 32, 32), layers=layers)) for layers in (first, second)))


def marks(first: list[Any], second: list[Any]) -> list[str]:
    words = {"same": "=", "changed": "~", "removed": "-", "added": "+"}
    return [
        words[pair.mark] + (pair.second or pair.first).kind  # type: ignore[union-attr]
        for pair in found(first, second).pairs
    ]


def conv(channels: int, kernel: int = 3) -> dict[str, Any]:
    return {"conv": {"out_channels": channels, "kernel_size": kernel, "padding": kernel // 2}}


def test_a_layer_more_or_less() -> None:
    assert marks([conv(4), "relu"], [conv(4), "batch_norm", "relu"]) == [
        *("=conv", "+batch_norm", "=relu"),
    ]
    assert marks([conv(4), "batch_norm", "relu"], [conv(4), "relu"]) == [
        *("=conv", "-batch_norm", "=relu"),
    ]


def test_other_arguments_are_a_change_and_so_is_what_follows_from_them() -> None:
    result = found([conv(4), "relu", conv(8)], [conv(6), "relu", conv(8)])
    assert [pair.differs for pair in result.pairs] == [
        ("arguments", "output_shape", "params", "macs"),
        ("input_shape", "output_shape"),
        ("arguments", "input_shape", "params", "macs"),
    ]


def test_a_further_block_is_the_last_of_its_kind() -> None:
    block = [conv(4), "batch_norm", "relu"]
    first, second = ["tanh", *block * 2, "max_pool: 2"], ["tanh", *block * 3, "max_pool: 2"]
    first[-1] = second[-1] = {"max_pool": 2}
    first[1] = second[1] = conv(4)
    result = found(first, second)
    added = [pair.second.path for pair in result.pairs if pair.mark == "added" and pair.second]
    assert added in (
        ["layers.7", "layers.8", "layers.9"],
        ["layers.4", "layers.5", "layers.6"],  # the first convolution has other input channels
    )


def test_resnet34_has_the_later_blocks_of_each_stage_more_than_resnet18() -> None:
    first, second = (
        trace(load(f"{ZOO / 'resnet.yaml'}@{name}")) for name in ("resnet18", "resnet34")
    )
    result = diff(first, second)
    assert {pair.mark for pair in result.pairs} == {"same", "added"}
    blocks = {
        pair.second.path.split(".")[1:3] and ".".join(pair.second.path.split(".")[1:3])
        for pair in result.pairs
        if pair.mark == "added" and pair.second
    }
    assert blocks == {"0.2", "1.2", "1.3", "2.2", "2.3", "2.4", "2.5", "3.2"}
    assert result.parting is not None
    assert result.parting.second is not None
    assert result.parting.second.path == "stages.0.2.0.layers.0.0"


def test_networks_too_large_to_be_searched_go_by_number(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    assert marks([conv(4), "relu", "tanh"], [conv(4), "tanh"]) == [
        "=conv",
        "-relu",
        "+tanh",
        "-tanh",
    ]


_layers = st.lists(
    st.sampled_from([conv(4), conv(8), conv(4, 5), "relu", "batch_norm", {"max_pool": 2}]),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_layers, _layers)
def test_every_layer_stands_once_and_in_order(first: list[Any], second: list[Any]) -> None:
    pools = [{"max_pool": 2}]
    first, second = (
        [layer for at, layer in enumerate(side) if layer not in pools or side[:at].count(layer) < 4]
        for side in (first, second)
    )
    result = found(first, second)
    assert [p.first for p in result.pairs if p.first] == list(result.first.leaves)
    assert [p.second for p in result.pairs if p.second] == list(result.second.leaves)
    for pair in result.pairs:
        if pair.first and pair.second:
            assert pair.first.kind == pair.second.kind
            assert (pair.mark == "same") == (not pair.differs)
            assert bool(pair.differs) == (
                (pair.first.params, pair.first.arguments, pair.first.input_shape)
                != (pair.second.params, pair.second.arguments, pair.second.input_shape)
            )
    assert (result.parting is None) == (first == second)
