"""The self-consistency loop: from an untrained cloud to the infinite-width solution, no training involved."""

import numpy as np

import mft_engine as mft
from mft_engine.questions.loop import iterate

recipe = mft.load_recipe("clover-sharp")
experiment = mft.Experiment(recipe)
theory = mft.solve_theory(recipe)
points = experiment.field_points
start = np.zeros(len(points.targets))
for turn in iterate(recipe, points, start, experiment.background.initial_theta, theory=theory):
    print(f"turn {turn.index}: gap {turn.gap:.1e}, KL from the theory {turn.kl:.5f} nats")
