"""Are the neurons of a classifier of handwritten digits what independent neurons in its field would be?"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import mft_engine as mft

torch.manual_seed(0)
images, labels = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
images = images.float() / 16
model = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 10))
optimizer = torch.optim.Adam(model.parameters(), 1e-3)
watch = mft.watch(model[0], model[2], optimizer=optimizer, activation=model[1])  # before the first step


def loss_of(chosen: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(images[chosen]), labels[chosen])


training, held_back = torch.arange(1400), torch.arange(1400, len(images))
for _ in range(300):
    loss = loss_of(training[torch.randint(1400, (128,))])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

found = watch.compare()
print(f"at the start {watch.initial_check.verdict}, now {found.verdict}: p {found.p_value_all:.2f}")
with torch.no_grad():
    print(f"loss on held-back digits: the network {loss_of(held_back):.3f}", end="")
    with watch.exchanged():
        print(f", riders in its place {loss_of(held_back):.3f}", end="")
    with watch.thinned(128):
        print(f", half of its neurons {loss_of(held_back):.3f}")
