"""Lightning, as its quick start has it; tuned: bf16-mixed, channels_last, workers that stay, and
neither logger nor checkpoints."""

import tempfile
import warnings
from typing import Any

import lightning as L
import torch
from task import Clock, Pictures, Task
from torch import Tensor, nn
from torch.utils.data import DataLoader

warnings.filterwarnings("ignore")
task = Task.given()
clock = Clock(task, version=L.__version__)


class Network(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = task.model()
        if task.tuned:
            self.model = self.model.to(memory_format=torch.channels_last)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        if task.tuned:
            images = images.contiguous(memory_format=torch.channels_last)
        return nn.functional.cross_entropy(self.model(images).float(), labels)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=task.lr, fused=task.tuned or None)


class Times(L.Callback):
    def on_train_epoch_start(self, *_: Any) -> None:
        clock.begin_epoch()

    def on_train_batch_end(self, _t: Any, _m: Any, outputs: Any, *_: Any) -> None:
        clock.step(lambda: float(outputs["loss"]))

    def on_train_epoch_end(self, *_: Any) -> None:
        clock.end_epoch()


with tempfile.TemporaryDirectory() as folder:
    trainer = L.Trainer(
        max_epochs=task.epochs,
        accelerator="cpu",
        callbacks=[Times()],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        precision="bf16-mixed" if task.tuned and not task.exact else "32-true",
        **({"logger": False, "enable_checkpointing": False} if task.tuned else {}),
    )
    workers: Any = {"num_workers": 2, "persistent_workers": True} if task.tuned else {}
    trainer.fit(Network(), DataLoader(Pictures(task), batch_size=task.batch, **workers))
clock.write()
