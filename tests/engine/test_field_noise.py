"""How noisy an averaged field is, from the memory of single neurons."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mft_engine.compare.fluctuations import Averaging, fluctuations
from mft_engine.compare.memory import FEWEST_CLOUDS, Path, averaged_variance
from mft_engine.experiment.experiment import Experiment
from mft_engine.recipe import load_recipe
from mft_engine.rng import Stream, host_generator

# Parts of a neuron's output, h = z_1 + z_2: variances, and times in which they are forgotten.
PARTS, TIMES, TEMPERATURE, WINDOW = np.array([30.0, 1.0]), np.array([40.0, 0.4]), 0.5, 10.0


def network(n_neurons: int, n_runs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Interacting neurons of two Gaussian coordinates, at equilibrium: dz = -(z + A f/T)/tau dt + noise, f = mean h.

    Returns:
        (n_runs,) averages of f over the window, and clouds of one network along it, (n_clouds, n_neurons, 2).
    """
    generator = host_generator(seed, Stream.TEST_POINTS)
    # The mean of the neurons has the covariance A - A A'/(T + S) over N, and moves by itself.
    stationary = (np.diag(PARTS) - np.outer(PARTS, PARTS) / (TEMPERATURE + PARTS.sum())) / n_neurons
    means = generator.standard_normal((n_runs, 2)) @ np.linalg.cholesky(stationary).T
    z = generator.standard_normal((n_neurons, 2)) * np.sqrt(PARTS)
    # f relaxes in 1/(A_1/(T tau_1) + A_2/(T tau_2)) = .15.
    step, total, clouds = 0.005, np.zeros(n_runs), []
    for number in range(round(WINDOW / step)):
        total += means.sum(axis=1)
        if number % 40 == 0:
            clouds.append(z.copy())
        for x, width in ((means, n_neurons**-0.5), (z, 1.0)):
            f = means.sum(axis=1, keepdims=True) if x is means else z.mean(axis=0).sum()
            kick = generator.standard_normal(x.shape) * np.sqrt(2 * PARTS / TIMES * step) * width
            x += kick - step * (x + (PARTS / TEMPERATURE) * f) / TIMES
    return total * step / WINDOW, np.stack(clouds)


def test_the_noise_of_an_averaged_field_told_from_one_run_is_that_of_many_runs() -> None:
    """Where neurons remember for longer than the window; the guess from stiffness alone is too small by a factor."""
    n_neurons = 2000
    averages, clouds = network(n_neurons, 800, 1)
    path = Path(clouds, WINDOW * (1 - 1 / len(clouds)), WINDOW)
    lags, shares = path.autocovariance(lambda cloud: cloud.sum(axis=1, keepdims=True), np.ones((1, 1)))
    told = averaged_variance(lags, PARTS.sum() * shares[:, 0], TEMPERATURE, WINDOW) / n_neurons
    # 800 runs: sqrt(2/800) = 5 %. The fast share, 1 of 31, is known to sqrt(1/2000) of the whole or better, .02 of it
    # over some ten independent clouds: T + S_fast = 1.5 to .2, 14 %.
    assert told / averages.var() == pytest.approx(1.0, abs=3 * 0.15)
    stiffness = np.array([PARTS.sum() / TEMPERATURE])
    guess = TEMPERATURE * stiffness / (1 + stiffness) / Averaging(WINDOW, 10_000).n_independent(stiffness) / n_neurons
    assert guess[0] < 0.4 * averages.var()


@pytest.mark.parametrize("memory", [0.1, 5.0])
def test_without_stiffness_the_noise_is_that_of_a_free_process(memory: float) -> None:
    """The textbook variance of the average of an Ornstein-Uhlenbeck process."""
    x = WINDOW / memory
    exact = 2 * (x - 1 + math.exp(-x)) / x**2
    assert averaged_variance(np.array([0.0, memory]), np.array([1.0, 0.0]), 1e9, WINDOW) == pytest.approx(
        exact, rel=1e-6
    )


def test_what_is_never_forgotten_stays_in_the_average_undamped_by_its_own_stiffness() -> None:
    """S_slow T^2/((T + S_fast)(T + S)), the variance of E[f | slow parts] in the Gibbs measure, by hand."""
    slow, fast, temperature = 3.0, 1.0, 0.5
    found = averaged_variance(np.array([0.0, 1e-6]), np.array([slow + fast, slow]), temperature, WINDOW)
    exact = slow * temperature**2 / ((temperature + fast) * (temperature + slow + fast))
    assert found == pytest.approx(exact, rel=1e-4)


def test_all_is_noise_where_nothing_is_forgotten_and_nothing_where_all_is() -> None:
    """K = S T/(S + T), the variance of f at one moment; and none of a window without end."""
    assert averaged_variance(np.zeros(1), np.array([4.0]), 0.5, WINDOW) == pytest.approx(4 * 0.5 / 4.5, rel=1e-4)
    assert averaged_variance(np.array([0.0, 1.0]), np.array([4.0, 0.0]), 0.5, 1e6) < 1e-6
    assert averaged_variance(np.zeros(1), np.array([0.0]), 0.5, WINDOW) == 0.0


def test_the_memory_of_neurons_is_read_off_their_clouds() -> None:
    """Free neurons that forget in 1.5 intervals: C(lag) = exp(-lag/1.5)."""
    generator = host_generator(2, Stream.TEST_POINTS)
    keep, clouds = math.exp(-1 / 1.5), [generator.standard_normal((4000, 1))]
    for _ in range(47):
        clouds.append(keep * clouds[-1] + math.sqrt(1 - keep**2) * generator.standard_normal((4000, 1)))
    path = Path(np.stack(clouds) + 7.0, 47.0, 48.0)
    lags, shares = path.autocovariance(lambda cloud: cloud, np.ones((1, 1)))
    assert list(lags) == [0, 1, 2, 4, 8, 16, 36] and path.is_known
    # 4,000 neurons in 12 to 47 pairs of clouds, some of which are independent: below .01.
    np.testing.assert_allclose(shares[:, 0], np.exp(-lags / 1.5), atol=0.02)


def test_the_clouds_of_the_window_are_taken_and_no_others() -> None:
    """By their time, not by their step: the step size changes on the way."""
    steps, times = np.arange(0, 1001, 50.0), np.linspace(0, 1, 21) ** 2 * 40
    clouds = np.arange(21.0)[:, None, None] * np.ones((1, 4, 3))
    path = Path.of(clouds, np.arange(0, 1001, 50), steps, times, 30.0)
    assert list(path.clouds[:, 0, 0]) == list(range(10, 21)) and path.duration == pytest.approx(30.0)
    assert not path.is_known
    assert not Path.of(np.zeros((0, 0, 0)), np.zeros(0), steps, times, 30.0).is_known
    assert not Path.of(clouds, np.arange(0, 1001, 50), np.zeros(0), np.zeros(0), 30.0).is_known


def test_a_run_with_too_few_clouds_is_judged_by_the_guess() -> None:
    """As runs that were stored without clouds are."""
    draws = host_generator(3, Stream.TEST_POINTS).standard_normal((FEWEST_CLOUDS, 2000, 2))
    statistics, outputs = draws[0], draws[0, :, :1]

    def tilt(path: Path | None) -> float:
        averaging = Averaging(WINDOW, 10_000, path=path)
        return fluctuations(statistics, outputs, np.ones(1), 0.5, averaging, lambda cloud: cloud[:, :1]).tilt[0, 0]

    assert tilt(None) == tilt(Path(draws[1:], 9.0, WINDOW)) > 0
    # Clouds that have nothing in common: the average is worth more than the guess says.
    assert 0 < tilt(Path(draws, 9.0, WINDOW)) < tilt(None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 13])
def test_a_right_ring_is_not_rejected_for_the_noise_of_its_averaged_field(seed: int) -> None:
    """p was .002 and 6e-4 while the noise was guessed."""
    experiment = Experiment(load_recipe("ring").replace({"seed": seed}))
    while not experiment.is_complete:
        experiment.advance(1000)
    for job in (experiment.foreground, experiment.compare):
        list(job())
    averages = experiment.comparisons[0].averages
    assert averages is not None and averages.p_value > 0.05
