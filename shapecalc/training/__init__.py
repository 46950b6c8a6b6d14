"""Training: data, loop, runs. Everything here may import torch."""
