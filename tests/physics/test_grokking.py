"""Claim about Adam with weight decay on a table of sums: it memorises first and adds later."""

from __future__ import annotations

import numpy as np

from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import load_recipe


def test_pairs_not_seen_come_right_long_after_those_that_were():
    experiment = Experiment(load_recipe("grokking"))
    while not experiment.is_complete:
        experiment.advance(500)
    rows = experiment.metrics()
    step, train, test = (np.asarray(rows[name]) for name in ("step", "train_accuracy", "test_accuracy"))
    # Measured over five seeds: train .984 to .997 and test .006 to .019 at step 250, test .97 or more from 2,000 on.
    early = step == 250
    assert train[early][0] > 0.95 and test[early][0] < 0.1
    assert test[step >= 2500].min() > 0.9
    memorised, generalised = step[train > 0.95][0], step[test > 0.9][0]
    assert generalised > 3 * memorised
