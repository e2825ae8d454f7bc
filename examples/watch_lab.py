"""The lab's own gradient descent written as a torch model: its riders are the fresh neurons of the lab's `replay`."""

import torch
from torch import nn

import mft_engine as mft
from mft_engine.network.two_layer import initial_cloud
from mft_engine.rng import Stream

recipe = mft.load_recipe("sgd-clover-replay").replace({"engine.dtype": "float64", "engine.device": "cpu"})
recipe = recipe.replace({"network.n_neurons": 512, "foreground.n_neurons": 512, "training.n_steps": 100})
run = mft.run(recipe)
points = [torch.from_numpy(part) for part in (run.outcome.points.inputs, run.outcome.points.targets)]
weights = torch.from_numpy(run.outcome.points.weights)
start, fresh = (
    initial_cloud(recipe, 2, 512, stream=stream, device=weights.device, dtype=weights.dtype).theta
    for stream in (Stream.INITIAL, Stream.FOREGROUND_INITIAL)
)

hidden, readout = nn.Linear(2, 512, bias=False).double(), nn.Linear(512, 1, bias=False).double()
with torch.no_grad():
    hidden.weight.copy_(start[:, :2])
    readout.weight.copy_(start[:, 2:].T)
decayed = [(hidden.weight, recipe.lambda_w), (readout.weight, recipe.lambda_a)]
groups = [{"params": [weight], "weight_decay": decay} for weight, decay in decayed]
optimizer = torch.optim.SGD(groups, recipe.training.step_size)
between = nn.Sequential(nn.Tanh(), nn.ReLU())
watch = mft.watch(hidden, readout, optimizer=optimizer, activation=between, initial=lambda n: fresh)
for _ in range(recipe.training.n_steps):
    residual = points[1] - readout(between(hidden(points[0])))[:, 0] / 512
    optimizer.zero_grad()
    (512 / 2 * (weights * residual**2).sum()).backward()
    optimizer.step()

for name, mine, lab in (("neurons", watch.background, run.background), ("riders", watch.foreground, run.foreground)):
    print(f"{name}: {float((mine - lab.theta).abs().max()):.0e} from the lab's own")
print(f"watch: {watch.compare().verdict}, lab: {run.summary['comparison']['verdict']}")
