"""Keras 3 on torch, as it comes; tuned: mixed bfloat16 and workers that stay."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from typing import Any

import keras
import numpy as np
import torch
from safetensors.torch import load_file
from task import Clock, Pictures, Task
from torch.utils.data import DataLoader

import shapecalc

task = Task.given()
clock = Clock(task, version=keras.__version__)
if task.tuned and not task.exact:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")


def network() -> Any:
    """The same layers with the same weights; Keras has channels last."""
    weights = load_file(task.weights)
    trace = shapecalc.trace(shapecalc.load(task.spec))
    model, given = keras.Sequential([keras.Input((task.size, task.size, 3))]), []
    shape = trace.input_shape
    for row in trace.rows:
        arguments = row.arguments
        match row.kind:
            case "conv":
                padding = "same" if arguments["padding"] else "valid"
                layer = keras.layers.Conv2D(
                    arguments["out_channels"], arguments["kernel_size"], padding=padding
                )
                kernel = weights[f"{row.path}.weight"].permute(2, 3, 1, 0)
            case "max_pool":
                layer = keras.layers.MaxPool2D(arguments["kernel_size"])
            case "relu":
                layer = keras.layers.ReLU()
            case "flatten":
                layer, shape = keras.layers.Flatten(), row.input_shape
            case "linear":
                layer = keras.layers.Dense(arguments["out_features"], dtype="float32")
                kernel = weights[f"{row.path}.weight"]
                kernel = kernel.view(len(kernel), *shape).permute(2, 3, 1, 0).flatten(0, 2)
        model.add(layer)
        if row.params:
            given.append((layer, kernel, weights[f"{row.path}.bias"]))
    for layer, kernel, bias in given:
        layer.set_weights([np.ascontiguousarray(kernel.numpy()), bias.numpy()])
    return model


class Times(keras.callbacks.Callback):
    total = count = 0.0

    def on_epoch_begin(self, *_: Any) -> None:
        self.total = self.count = 0.0
        clock.begin_epoch()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1
        before, self.total = self.total, logs["loss"] * self.count if task.exact else 0.0
        clock.step(lambda: self.total - before)

    def on_epoch_end(self, *_: Any) -> None:
        clock.end_epoch()


def batch(samples: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*samples, strict=True)
    return torch.stack(images).permute(0, 2, 3, 1).contiguous(), torch.tensor(labels)


model = network()
model.compile(
    optimizer=keras.optimizers.AdamW(task.lr, weight_decay=0.01, epsilon=1e-8),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
workers: Any = {"num_workers": 2, "persistent_workers": True} if task.tuned else {}
loader = DataLoader(Pictures(task), batch_size=task.batch, collate_fn=batch, **workers)
model.fit(loader, epochs=task.epochs, verbose=0, callbacks=[Times()])
clock.write()
