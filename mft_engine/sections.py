"""The sections of a recipe: which values there are, what they are at first, and what each may be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from mft_engine.curves import known_activation

MAX_LAYERS = 3
MAX_LAYERED_NEURONS = 4096
# Beyond these a weight, its square or the count of steps leaves the range of the machine's numbers.
SMALLEST, LARGEST = 1e-12, 1e9


def _not_too_small(value: float) -> float:
    if value < SMALLEST:
        raise ValueError(f"the smallest number that can be told from 0 here is {SMALLEST:g}")
    return value


Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False), AfterValidator(_not_too_small)]
UpToAThousand = Annotated[Positive, Field(le=1e3)]
Count = Annotated[int, Field(ge=0)]
ActivationName = Annotated[str, AfterValidator(known_activation)]


class Section(BaseModel):
    """A group of values; frozen, and without fields that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class TaskSection(BaseModel):
    """The task's name in the registry, and that task's own parameters."""

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str = "product"

    @property
    def parameters(self) -> dict[str, Any]:
        """The task's own parameters, without its name."""
        return dict(self.model_extra or {})


class NetworkSection(Section):
    """Shapes and activations."""

    n_neurons: tuple[Annotated[int, Field(ge=1, le=4_000_000)], ...] = (2048,)
    activation: ActivationName = "relu_tanh"
    upper_activation: ActivationName = "tanh"
    readout_exponent: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    train_readout: bool = True

    @field_validator("n_neurons", mode="before")
    @classmethod
    def _one_number_for_every_layer(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("n_neurons")
    @classmethod
    def _one_to_three_layers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(value) <= MAX_LAYERS:
            raise ValueError(f"give one number for each of 1 to {MAX_LAYERS} hidden layers: [2048] or [256, 256]")
        if len(value) > 1 and max(value) > MAX_LAYERED_NEURONS:
            raise ValueError(f"several hidden layers take at most {MAX_LAYERED_NEURONS} neurons each")
        return value

    @property
    def n_layers(self) -> int:
        """Hidden layers."""
        return len(self.n_neurons)


class InitialSection(Section):
    """The law of the neurons at step 0."""

    law: Literal["prior", "gaussian", "theory"] = "prior"
    input_weight_std: Positive = 1.0
    readout_std: Positive = 1.0


class RegularisationSection(Section):
    """lambda of each kind of weight is scale times its factor."""

    scale: UpToAThousand = 1e-3
    input_weight: Positive = 20.0
    hidden_weight: Positive = 1.0
    readout: Positive = 1.0


class TrainingSection(Section):
    """How the background moves, how long, and on which points."""

    dynamics: Literal["langevin", "gibbs", "sgd", "adam"] = "langevin"
    integrator: Literal["leimkuhler-matthews", "euler"] = "leimkuhler-matthews"
    preconditioner: Literal["prior", "none"] = "prior"
    temperature: Annotated[float, Field(ge=0, le=1e3, allow_inf_nan=False)] = 0.02
    step_size: Literal["auto"] | UpToAThousand = "auto"
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    time: Positive = 24.0
    n_steps: Count = 0
    n_points: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    rule: Literal["polar", "batch", "sobol", "grid"] = "polar"
    rule_size: tuple[Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]] = (8, 32)
    rule_rotates: bool = False
    batch_size: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class ForegroundSection(Section):
    """How fresh neurons are sampled, and in which field."""

    n_neurons: Annotated[int, Field(ge=1, le=4_000_000)] = 2048
    n_steps: Count = 0
    method: Literal["dynamics", "gibbs", "finite-width", "replay"] = "dynamics"
    self_term: Literal["none"] = "none"
    field: Literal["averaged", "end"] = "averaged"
    window: Annotated[float, Field(gt=0, le=1)] = 0.6667
    background: str = "trained"


class ComparisonSection(Section):
    """How the clouds are compared."""

    n_permutations: Annotated[int, Field(ge=99, le=100_000)] = 500


class TheorySection(Section):
    """How finely the exact law is solved."""

    n_particles: Annotated[int, Field(ge=0, le=4_000_000)] = 0
    n_replicates: Annotated[int, Field(ge=2, le=64)] = 2


class EngineSection(Section):
    """Where and how fast it is computed."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    n_threads: Annotated[int, Field(ge=0, le=1024)] = 0


class ScheduledChange(Section):
    """A change that was made while the run was going: at `step`, `path` becomes `value`."""

    step: Count
    path: str
    value: float | str
