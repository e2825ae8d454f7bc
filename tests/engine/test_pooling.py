"""Claims about verdicts pooled over seeds: an honest level, more power, words and the command line."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mft_engine.cli import main
from mft_engine.compare.averages import Expectation, compare_averages
from mft_engine.compare.clouds import Comparison, compare
from mft_engine.compare.pooling import fisher, pool
from mft_engine.compare.resolution import Resolution
from mft_engine.compare.rules import told_p
from mft_engine.rng import Stream, host_generator
from mft_engine.studies.apart import carry_out
from mft_engine.studies.phase import pooled_at
from mft_engine.studies.sweep_table import open_sweep

WORDS = {"one": "mean of one", "two": "mean of two", "three": "mean of three"}
N = 120


def draws(number: int) -> np.ndarray:
    return host_generator(31, Stream.TEST_POINTS, number).normal(size=(2 * N, 3))


def run(number: int, shift: float = 0.0, n_permutations: int = 199) -> Comparison:
    """Two clouds of one law (but for a shift), their averages against the known mean 0 and covariance 1/N."""
    own, other = np.split(draws(number), 2)
    own = own + shift
    law = Expectation.of(WORDS, np.zeros(3), np.eye(3) / N, np.zeros((0, 0)))
    found = compare(own, other, 2, n_permutations=n_permutations, seed=number)
    return found.with_averages(compare_averages(own, law), Resolution())


def test_pooled_right_runs_are_rejected_as_often_as_the_level_says():
    """60 groups of 4: at 1 % four or more rejections have probability .003; averages are uniform (KS at .001)."""
    groups = [pool([run(4 * k + j, n_permutations=99) for j in range(4)]) for k in range(60)]
    assert sum(one.p_value <= 0.01 for one in groups) <= 3
    assert stats.kstest([one.p_value_averages for one in groups], "uniform").pvalue > 0.001
    # Permutation p-values are discrete: theirs together may only be too large.
    assert stats.kstest([one.p_value_distance for one in groups], "uniform", alternative="greater").pvalue > 0.001


def test_what_no_run_shows_alone_is_shown_by_sixteen_together():
    """A shift of .15 in three columns is a noncentrality of 3 x 120 x .0225 = 8.1 a run, and of 130 in sixteen."""
    runs = [run(1000 + k, 0.15) for k in range(16)]
    found = pool(runs)
    assert sum(one.p_value_all <= 0.01 for one in runs) == found.n_rejected < 8
    assert found.verdict != "consistent" and found.p_value < 1e-10
    assert "larger than the 0 of its foreground's law" in found.largest_difference
    assert f"{found.n_rejected} of 16 runs" in found.sentence
    json.dumps(found.to_dict(), allow_nan=False)


def test_one_run_pooled_is_itself():
    one = run(7)
    found = pool([one])
    assert found.p_value_averages == pytest.approx(one.averages.p_value, rel=1e-9)
    assert found.p_value == pytest.approx(one.p_value_all, rel=1e-9)
    # Fisher's of one is the value itself.
    assert fisher([0.3]) == pytest.approx(0.3) and found.verdict == one.verdict


def test_runs_without_averages_are_pooled_by_their_distances():
    one = run(8)
    found = pool([replace(one, averages=None), run(9)])
    assert found.p_value_averages is None and found.p_value == found.p_value_distance
    assert found.p_value == pytest.approx(fisher([one.p_value, run(9).p_value]))


def test_runs_too_small_to_speak_alone_speak_together_or_say_why_not():
    """Four neurons a side reach 2/70 at the least: alone nothing can be said, three together reach .0016."""

    def tiny(k: int) -> Comparison:
        return compare(draws(k)[:4], draws(k)[4:8] + 100.0, 2, n_permutations=999, seed=k)

    assert tiny(0).verdict is None and pool([tiny(k) for k in range(3)]).verdict == "inconsistent"
    alike = pool([compare(draws(k)[:2], draws(k)[4:6], 2, n_permutations=999, seed=k) for k in range(2)])
    assert alike.verdict is None and "cannot fall below" in alike.sentence


def test_the_command_line_runs_seeds_and_pools_them(capsys, tmp_path):
    small = ["--set", "network.n_neurons=300", "--set", "foreground.n_neurons=300", "--set", "training.dynamics=gibbs",
             "--set", "training.n_steps=120", "--set", "foreground.method=gibbs"]  # fmt: skip
    with pytest.raises(SystemExit, match="0"):
        main(["run", "clover", *small, "--seeds", "2", "--out", str(tmp_path), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "mft-lab/seeds/1" and document["seeds"] == [0, 1] and len(document["runs"]) == 2
    pooled = document["pooled"]
    assert pooled["n_runs"] == 2 and pooled["verdict"] == "consistent" and 0 < pooled["p_value"] <= 1
    single = document["runs"][0]["comparison"]["resolution"]
    # Linear alternatives stand out sqrt(2) times as much together: a third of leeway for another seed's law.
    assert pooled["resolution"]["readout_scale"] == pytest.approx(single["readout_scale"] / 2**0.5, rel=0.33)
    folders = {row["run_dir"] for row in document["runs"]}
    with pytest.raises(SystemExit, match="0"):
        main(["run", "clover", *small, "--seeds", "2", "--out", str(tmp_path), "--resume"])
    assert len(folders) == len(list(tmp_path.iterdir())) == 2
    told = capsys.readouterr().out
    assert "2 runs together are consistent" in told and "would have noticed" in told and "seed 1" in told


def test_a_sweep_pools_the_seeds_of_each_point(tmp_path, capsys):
    small = ["--set", "network.n_neurons=300", "--set", "foreground.n_neurons=300", "--set", "training.n_steps=60"]
    out = tmp_path / "sweep"
    with pytest.raises(SystemExit, match="0"):
        main(["sweep", "clover", "--param", "regularisation.scale=0.01,0.02", "--seeds", "2", "--out", str(out),
              "--workers", "1", "--json", *small])  # fmt: skip
    document = json.loads(capsys.readouterr().out)
    assert [point["regularisation.scale"] for point in document["pooled"]] == [0.01, 0.02]
    assert all(point["n_runs"] == 2 and 0 <= point["p_value"] <= 1 for point in document["pooled"])
    assert all(0 < point["resolution"]["readout_scale"] < 1 for point in document["pooled"])
    lines = (out / "pooled.csv").read_text().splitlines()
    assert lines[0].startswith("regularisation.scale,n_runs,verdict,p_value") and len(lines) == 3
    p = [row["comparison.p_value"] for row in document["rows"][:2]]
    assert document["pooled"][0]["p_value_distance"] == pytest.approx(fisher(p))
    # Whoever opens the folder finds them, and a process of its own tells them.
    stored = open_sweep(out)
    assert [row["sentence"] for row in stored.sweep.pooled] == [row["sentence"] for row in document["pooled"]]
    assert pooled_at(stored.sweep)[1,]["p_value"] == document["pooled"][1]["p_value"]
    answers = io.StringIO()
    carry_out({"recipe": stored.recipe.to_toml(), "axes": [{"path": "regularisation.scale", "values": [0.01, 0.02]}],
               "n_seeds": 2, "out": str(out), "n_workers": 1, "resume": True}, answers)  # fmt: skip
    heard = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [line["pooled"]["sentence"] for line in heard if "pooled" in line] == [
        row["sentence"] for row in document["pooled"]
    ]
    (out / "pooled.csv").write_text("nonsense\n1\n")
    assert open_sweep(out).sweep.pooled == () and len(open_sweep(out).sweep.rows) == 4


def test_no_p_value_is_told_as_zero():
    """Clouds that are ten spreads apart: the tail of chi-squared ends where float64 does."""
    found = pool([run(k, shift=10.0) for k in range(3)])
    assert found.p_value == 0.0 and "p < 1e-300)" in found.sentence and found.verdict == "inconsistent"
    assert told_p(5e-324) == "p < 1e-300" and told_p(3e-7) == "p = 3e-07" and told_p(0.25, 3) == "p = 0.25"
