"""The zoo: torchvision's 68 convolutional classifiers, counted alike; a few of them run alike.

`python benchmarks/zoo.py` runs all of them at full size.
"""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest
from zoo import ZOO, compare, counted, networks, specs

from shapecalc import load, loads, trace

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
SPECS = ZOO.parent


def test_every_convolutional_classifier_of_torchvision_is_there_under_its_name() -> None:
    assert len(networks()) == 68
    assert set(specs()) == set(networks())


@pytest.mark.parametrize("name", networks())
def test_params_and_macs_are_torchvisions(name: str) -> None:
    traced, params, macs = counted(name)
    assert traced.name == name
    assert (traced.params, traced.macs) == (params, macs)
    assert traced.output_shape == (1000,)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *[("alexnet", 96), ("vgg11_bn", 64), ("googlenet", 64), ("inception_v3", 96)],
        *[("resnet18", 64), ("resnext50_32x4d", 64), ("squeezenet1_1", 64), ("densenet121", 64)],
        *[("mobilenet_v2", 64), ("mobilenet_v3_small", 64), ("mnasnet0_5", 64)],
        *[("shufflenet_v2_x0_5", 64), ("efficientnet_b0", 64), ("efficientnet_v2_s", 64)],
        *[("regnet_x_400mf", 64), ("regnet_y_400mf", 64), ("convnext_tiny", 64)],
    ],
)
def test_output_is_torchvisions_for_the_same_weights(name: str, size: int) -> None:
    found = compare(name, size)
    assert found.agrees, found
    assert found.scale > 0.01


@pytest.mark.parametrize("path", sorted(SPECS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_spec_is_traced_and_reads_back_as_it_is_written(path: Path) -> None:
    spec = load(path)
    assert spec.name == path.stem
    assert loads(spec.to_yaml()) == spec
    assert trace(loads(spec.to_yaml())).params == trace(spec).params


def test_unet_keeps_the_size_of_its_input() -> None:
    traced = trace(load(SPECS / "unet.yaml"))
    assert traced.output_shape == (2, 256, 256)
    assert traced.params == 31_037_698  # with batch normalisation in place of biases


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1"])
def test_sizes_are_those_that_torchvisions_network_takes(name: str) -> None:
    """`python benchmarks/sizes.py` compares all of them."""
    code = ZOO.parent.parent / "benchmarks" / "sizes.py"
    found = run_path(str(code))["compare"](name)
    assert found.agrees, found
