"""Which layer's output goes where: the rows of a Trace as a graph."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from shapecalc.diagnostics import SpecError
from shapecalc.language.recipe import Recipe
from shapecalc.layers.merge import Add, Branches, Concat, Multiply, Residual, Save
from shapecalc.layers.structure import Container
from shapecalc.tracer import Row, Trace

INPUT, OUTPUT = -1, -2
"""The nodes that are no rows: where the network's input comes from, and where its output goes."""


class Graph:
    """The graph of a network.

    A node is the index of a row that makes a tensor: a layer, or a container that joins several
    tensors, as a residual does. Groups, and `save`, which only names a tensor, are no nodes. With
    `split`, each branch's share of the channels is a node beyond the rows.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace, self.rows = trace, trace.rows
        self.sources: dict[int, tuple[int, ...]] = {}
        """The nodes whose tensors each node reads; in order of execution."""
        self.uses: dict[int, list[int]] = {INPUT: []}
        """The nodes that read each node's tensor; `OUTPUT` stands for the network's end."""
        self.parents = [-1] * len(self.rows)
        """The container that each row is in; -1 for none."""
        self.unused: set[int] = set()
        """Each `save` whose tensor is not used later."""
        self._saved: dict[str, tuple[int, int]] = {}
        self._parts = len(self.rows)
        self._kinds: dict[str, list[int]] = {}
        index, self.output = 0, INPUT
        while index < len(self.rows):
            index, self.output = self._row(index, self.output, -1)
        self.uses[self.output].append(OUTPUT)

    def of(self, *kinds: str) -> Iterator[int]:
        """The rows of some kinds of layers, in order within each kind."""
        return (index for kind in kinds for index in self._kinds.get(kind, ()))

    def kind(self, node: int) -> str:
        """The kind of a node, "" for one that is no row."""
        return self.rows[node].kind if 0 <= node < len(self.rows) else ""

    def before(self, node: int) -> int:
        """The layer whose output a node reads, and nothing else reads; INPUT where it reads
        several tensors, one that goes elsewhere too, or one that no layer made."""
        sources = self.sources[node]
        source = sources[0]
        if len(sources) > 1 or not 0 <= source < len(self.rows) or len(self.uses[source]) > 1:
            return INPUT
        return INPUT if self.rows[source].is_container else source

    def behind(self, node: int, *kinds: str) -> int:
        """The first node that is not of some kinds, from a node on against the flow."""
        while self.kind(node) in kinds:
            node = self.sources[node][0]
        return node

    @cached_property
    def recipe(self) -> Recipe | None:
        """How the network is to be trained; None where that has faults."""
        try:
            return self.trace.spec.recipe()
        except SpecError:
            return None

    def _row(self, index: int, x: int, parent: int) -> tuple[int, int]:
        """Take a row in, with all that it holds: the next row, and the node of its output."""
        row = self.rows[index]
        layer = row.layer
        self.parents[index] = parent
        if isinstance(layer, Container):
            return self._container(index, row, x)
        self._kinds.setdefault(layer.kind, []).append(index)
        if isinstance(layer, Save):
            self._saved[layer.tensor] = x, index
            self.unused.add(index)
            return index + 1, x
        if isinstance(layer, Concat | Add | Multiply):
            kept = [self._saved[name] for name in layer.tensors]
            self.unused.difference_update(save for _, save in kept)
            return index + 1, self._node(index, x, *(node for node, _ in kept))
        self.sources[index] = (x,)  # as _node does it, for the many
        self.uses[x].append(index)
        self.uses[index] = []
        return index + 1, index

    def _container(self, index: int, row: Row, x: int) -> tuple[int, int]:
        layer, at = row.layer, index + 1
        if isinstance(layer, Residual):
            main = sum(path.startswith(f"{row.path}.layers.") for path in row.children)
            at, out = self._run(at, x, main, index)
            at, side = self._run(at, x, len(row.children) - main, index)
            return at, out if layer.shortcut is False else self._node(index, out, side)
        if isinstance(layer, Branches):
            outs = []
            for number in range(len(layer.layers)):
                count = sum(path.startswith(f"{row.path}.{number}.") for path in row.children)
                at, out = self._run(at, self._part(x) if layer.split else x, count, index)
                outs.append(out)
            return at, self._node(index, *outs) if len(outs) > 1 else outs[0]
        return self._run(at, x, len(row.children), index)

    def _run(self, index: int, x: int, count: int, parent: int) -> tuple[int, int]:
        for _ in range(count):
            index, x = self._row(index, x, parent)
        return index, x

    def _part(self, x: int) -> int:
        self._parts += 1
        return self._node(self._parts - 1, x)

    def _node(self, node: int, *sources: int) -> int:
        self.sources[node] = sources
        self.uses[node] = []
        for source in sources:
            self.uses[source].append(node)
        return node
