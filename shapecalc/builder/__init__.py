"""A Trace to a torch.nn.Module."""

from shapecalc.builder.network import build as build
