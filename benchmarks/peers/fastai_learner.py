"""fastai, as its tutorial has it; tuned: channels_last, bf16, two workers."""

import warnings
from functools import partial

import fastai
import torch
from fastai.vision.all import (
    Callback,
    CategoryBlock,
    CrossEntropyLossFlat,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    Learner,
    OptimWrapper,
    Path,
    Resize,
    parent_label,
)
from task import Clock, Task

warnings.filterwarnings("ignore")
task = Task.given()
clock = Clock(task, version=fastai.__version__)


class Times(Callback):
    def before_train(self) -> None:
        clock.begin_epoch()

    def after_batch(self) -> None:
        if self.training:
            clock.step(lambda: float(self.loss))

    def after_train(self) -> None:
        clock.end_epoch()


valid = sorted(Path(task.data, "valid").rglob("*.*"))
files = [Path(file) for file in task.files] + valid
block = DataBlock(
    blocks=(ImageBlock, CategoryBlock(vocab=task.classes)),
    get_items=lambda _: files,
    get_y=parent_label,
    splitter=IndexSplitter(range(len(task.files), len(files))),
    item_tfms=Resize(task.size, method="squish"),
)
workers = 2 if task.tuned else None
loaders = block.dataloaders(task.data, bs=task.batch, shuffle=False, num_workers=workers)
learner = Learner(
    loaders,
    task.model(),
    loss_func=CrossEntropyLossFlat(),
    opt_func=partial(OptimWrapper, opt=torch.optim.AdamW),
    cbs=[Times()],
    lr=task.lr,
    wd=0.01,
)
if task.tuned:
    learner = learner.to_channelslast(use_amp=False)
    if not task.exact:
        learner = learner.to_bf16()
with learner.no_bar(), learner.no_logging():
    learner.fit(task.epochs, task.lr)
clock.write()
