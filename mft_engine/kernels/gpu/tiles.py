"""How neurons are dealt out to programs and threads: a function of the sizes alone, never of the machine."""

from __future__ import annotations

from dataclasses import dataclass

# Slots from which a small cloud is dealt out to four times as many programs, each of which walks through a quarter.
MANY_SLOTS = 512
# Inputs up to which the loops are unrolled four times and a thread owns several neurons.
FEW_INPUTS = 4
# Points x neurons in one unrolled body are worth this many copies of it.
UNROLL_FEW, UNROLL_SOME, UNROLL_MANY = 4, 2, 1


@dataclass(frozen=True)
class Tiles:
    """Sizes that a kernel is compiled for.

    Attributes:
        block: neurons a program.
        lanes: threads that share a neuron going backward, each with every lanes-th slot.
        slots: slots that a program goes forward with at a time.
        n_warps: of a program.
        unroll: copies of a loop's body.
    """

    block: int
    lanes: int
    slots: int
    n_warps: int
    unroll: int


def tiles(n_neurons: int, n_slots: int, n_inputs: int) -> Tiles:
    """Small clouds fill the device with few neurons a program, large ones share what a program loads.

    The sums of float32 in a program are over `block` neurons, so that the bits of a run depend on the sizes only.
    """
    if n_neurons <= 2**12:
        block, lanes, n_warps = (16, 8, 4) if n_slots < MANY_SLOTS else (4, 32, 4)
    elif n_neurons <= 2**15:
        block, lanes, n_warps = 32, 4, 4
    elif n_neurons <= 2**18 or n_inputs > FEW_INPUTS:
        block, lanes, n_warps = 128, 1, 2 if n_inputs <= FEW_INPUTS else 4
    else:
        block, lanes, n_warps = 256, 1, 2
    unroll = UNROLL_FEW if n_inputs <= 2 else UNROLL_SOME if n_inputs <= FEW_INPUTS else UNROLL_MANY
    most = 256 if n_inputs <= FEW_INPUTS else 128
    slots = 16
    while slots < min(n_slots, most):
        slots *= 2
    return Tiles(block, lanes, slots, n_warps, unroll)
