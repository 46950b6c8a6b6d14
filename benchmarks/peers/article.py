"""The loop that most tutorials show: pictures decoded anew in each epoch by two workers, fp32, the
loss read in every step."""

import torch
from task import Clock, Pictures, Task
from torch import nn
from torch.utils.data import DataLoader

task = Task.given()
clock = Clock(task, version=torch.__version__)
model = task.model()
optimizer = torch.optim.AdamW(model.parameters(), lr=task.lr)
criterion = nn.CrossEntropyLoss()
loader = DataLoader(Pictures(task), batch_size=task.batch, num_workers=2)
for _ in range(task.epochs):
    clock.begin_epoch()
    model.train()
    running = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        running += loss.item()
        clock.step(loss.item)
    clock.end_epoch()
clock.write()
