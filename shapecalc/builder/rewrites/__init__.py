"""A built network run as a plan says: other modules that compute with its parameters."""

from __future__ import annotations

from torch import Tensor, nn

from shapecalc.analysis.flow import Step
from shapecalc.analysis.rewrites import Plan
from shapecalc.builder.rewrites.maps import Bias, HeldWeights, Map, Weights
from shapecalc.builder.rewrites.pool import ByteMaxPool
from shapecalc.builder.rewrites.program import Join, Program, Split
from shapecalc.builder.rewrites.stem import Stem


def rewritten(
    model: nn.Module, plan: Plan, pixels: tuple[Tensor, Tensor] | None = None
) -> nn.Module:
    """The network that `build` made of a Trace, to be run as a plan for that says.

    Parameters and statistics are those of `model`, which stays as it is: what one learns, the other
    has learned. A plan for evaluation takes them as they are whenever `eval()` is called. `pixels`
    are the factor and the shift that normalise each channel, where the plan does that.
    """
    maker = _Maker(model, plan, pixels)
    return Program(plan.flow, [maker.module(step) for step in plan.flow.steps])


class _Maker:
    """Makes the module of each step."""

    def __init__(self, model: nn.Module, plan: Plan, pixels: tuple[Tensor, Tensor] | None) -> None:
        self.model, self.plan, self.pixels = model, plan, pixels
        self.weights: dict[str, Weights] = {}
        """Those of maps, by the first of the layers that they are made of."""

    def module(self, step: Step) -> nn.Module:
        match step.does:
            case "layer":
                return self.model.get_submodule(step.row.path)
            case "split":
                return Split(len(step.outputs))
            case "map":
                return Map(step.row, self.weights_of(step))
            case "bias":
                return Bias(self.weights[step.rows[0].path])
            case "stem":
                return Stem(step, self.weights_of(step))
            case "pool":
                return ByteMaxPool(step.row, relu=len(step.rows) > 1)
        return Join(step.does)

    def weights_of(self, step: Step) -> Weights:
        normalizes = self.plan.normalizes and step.inputs[0] is self.plan.flow.input
        rows = [row for row in step.rows if row.kind not in ("max_pool", "relu")]
        layers = [self.model.get_submodule(row.path) for row in rows]
        held = not self.plan.training and (len(layers) > 1 or normalizes)
        kind = HeldWeights if held else Weights
        weights = kind(rows, layers, self.pixels if normalizes else None)
        self.weights[step.rows[0].path] = weights
        return weights
