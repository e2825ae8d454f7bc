"""The channels of a convolutional net on handwritten digits, against channels that ride along."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import mft_engine as mft

torch.manual_seed(0)
images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
images = images.float().reshape(-1, 1, 8, 8) / 16
first, second = nn.Conv2d(1, 64, 3, padding=1), nn.Conv2d(64, 32, 3)
pooled = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
model = nn.Sequential(first, pooled, second, nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
# A channel of the first layer: nine weights, its bias, and how each channel of the second reads it.
lower, upper = mft.watch(
    [(first, second, pooled), (second, model[5], nn.Sequential(nn.ReLU(), nn.Flatten()))], optimizer=optimizer
)
for _ in range(150):
    chosen = torch.randint(len(images), (64,))
    loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

accuracy = (model(images).argmax(1) == labels).float().mean()
print(f"accuracy {accuracy:.2f}")
for name, watch in (("first", lower), ("second", upper)):
    found = watch.compare()
    print(f"{name} layer, {len(watch.background)} channels: {found.verdict}, ratio {found.ratio:.2f}")
