"""Right against wrong: the same foreground neurons, in the field of a mean-field and of a lazy background."""

import mft_engine as mft

SMALL = {"network.n_neurons": 512, "foreground.n_neurons": 512, "training.time": 12.0}

for background in ("trained", "lazy"):
    recipe = mft.load_recipe("clover-warm").replace({**SMALL, "foreground.background": background})
    *_, finished = mft.Experiment(recipe)
    comparison = finished.summary["comparison"]
    print(f"{background}: {comparison['verdict']}, {comparison['ratio']:.1f} times what chance gives")
