"""A transformer learns addition mod 23: neurons of its MLP and riders become the same waves in the same shares."""

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
optimizer = torch.optim.AdamW([*parts.parameters(), place], 1e-3, weight_decay=1.0)
watch = mft.watch(up, down, optimizer=optimizer, activation=torch.relu)
for _ in range(600):
    loss = nn.functional.cross_entropy(block(pairs[training])[0], sums[training])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

with torch.no_grad():
    (scores, seen), found = block(pairs), watch.compare()
    print(f"accuracy on all pairs {(scores.argmax(1) == sums).float().mean():.2f}; {found.verdict}, {found.ratio:.2f}")
    for name, cloud in (("neurons", watch.background), ("riders", watch.foreground)):
        features = torch.relu(seen @ cloud[:, :WIDTH].T + cloud[:, WIDTH]).reshape(P, P, -1)
        power = torch.fft.fft(features - features.mean((0, 1)), dim=0).abs().square().sum(1)[1 : P // 2 + 1]
        print(f"{name} with frequency 1..{P // 2}:", torch.bincount(power.argmax(0), minlength=P // 2).tolist())
