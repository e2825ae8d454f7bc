"""A typed target: its exact infinite-width law, and neurons drawn from it."""

import mft_engine as mft
from mft_engine.rng import Stream, host_generator

recipe = mft.load_recipe("clover").replace(
    {"task.name": "expression", "task.expression": "x1*x2 + 0.3*sin(3*x1)", "training.temperature": 0.05}
)
theory = mft.solve_theory(recipe)
neurons = theory.law.sample(1000, host_generator(0, Stream.THEORY))
print(f"loss {theory.loss:.4f}, duality gap {theory.gap:.1e}, mean |a| {abs(neurons[:, 2]).mean():.2f}")
