"""A training that nobody watched: riders go through the checkpoints that it left, as exactly as these allow."""

import copy

import torch
from torch import nn

import mft_engine as mft

torch.manual_seed(0)
inputs = torch.randn(256, 2)
model = nn.Sequential(nn.Linear(2, 256), nn.Tanh(), nn.Linear(256, 1))
optimizer = torch.optim.Adam(model.parameters(), 1e-3)


def loss_of_all() -> torch.Tensor:
    return (model(inputs)[:, 0] - inputs[:, 0] * inputs[:, 1]).square().mean()


checkpoints = [(0, copy.deepcopy(model.state_dict()))]
for step in range(1, 301):
    optimizer.zero_grad()
    loss_of_all().backward()
    optimizer.step()
    if step % 10 == 0:
        checkpoints.append((step, copy.deepcopy(model.state_dict())))

for every in (1, 5, 30):
    later = mft.watch_checkpoints(
        model,
        model[0],
        model[2],
        activation=model[1],
        checkpoints=checkpoints[::every],
        loss=loss_of_all,
        optimizer=lambda parameters: torch.optim.Adam(parameters, 1e-3),
    )
    print(f"{later.sentence} Verdict: {later.compare().verdict or 'none'}.")
