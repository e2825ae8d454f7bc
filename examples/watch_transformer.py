"""A transformer groks addition mod 23: neurons of its MLP and riders become the same waves, shares and phases."""

import torch
from torch import nn

import mft_engine as mft

torch.manual_seed(0)
P, WIDTH = 23, 64
sums = (pairs := torch.cartesian_prod(torch.arange(P), torch.arange(P))).sum(1) % P
training = torch.randperm(P * P)[: int(0.8 * P * P)]

embedding, place, reading = nn.Embedding(P, WIDTH), nn.Parameter(0.02 * torch.randn(2, WIDTH)), nn.Linear(WIDTH, P)
attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
norms, up, down = (
    nn.ModuleList([nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)]),
    nn.Linear(WIDTH, 256),
    nn.Linear(256, WIDTH),
)


def block(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    normed = norms[0](stream := embedding(numbers) + place)
    stream = (stream + attention(normed, normed, normed, need_weights=False)[0])[:, -1]
    return reading(stream + down(torch.relu(up(seen := norms[1](stream))))), seen


parts = nn.ModuleList([embedding, reading, attention, norms, up, down])
optimizer = torch.optim.AdamW([*parts.parameters(), place], 3e-3, weight_decay=1.0)
watch = mft.watch(up, down, optimizer=optimizer, activation=torch.relu)
for step in range(1201):
    loss = nn.functional.cross_entropy(block(pairs[training])[0], sums[training])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 400 == 200 or step == 1200:
        right = (block(pairs)[0].argmax(1) == sums).float()
        known = right[training].mean()
        new = (right.sum() - right[training].sum()) / (P * P - len(training))
        print(f"step {step}: {known:.2f} of the training pairs and {new:.2f} of the others are right")

with torch.no_grad():
    seen, found = block(pairs)[1], watch.compare()
    print(f"neurons and riders: {found.verdict}, ratio {found.ratio:.2f}")
    for name, cloud in (("neurons", watch.background), ("riders", watch.foreground)):
        features = torch.relu(seen @ cloud[:, :WIDTH].T + cloud[:, WIDTH]).reshape(P, P, -1)
        waves = torch.fft.fft2(features - features.mean((0, 1)), dim=(0, 1))
        k = waves.abs().square().sum(1)[1 : P // 2 + 1].argmax(0)
        # cos(k (n + m) + phase): the phase of every neuron's own wave, counted by quarters of a turn.
        quarters = (waves[k + 1, k + 1, torch.arange(len(k))].angle() / (torch.pi / 2) + 2).long() % 4
        print(f"{name} with frequency 1..{P // 2}:", torch.bincount(k, minlength=P // 2).tolist())
        print(f"{name} with phase in each quarter:", torch.bincount(quarters, minlength=4).tolist())
