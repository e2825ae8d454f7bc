"""What compiled kernels share on every device: the functions that activations are made of, and polynomials.

Coefficients are minimax fits made for this program; `approximations.py` and `noise.py` state the errors.
"""

from __future__ import annotations

import math

# The functions b, and how phi is made of b on the slots (see `loops.py`).
TANH, LINEAR, HARDTANH, ERF, SIN, SQUARE, TANH_SQUARED = range(7)
PLAIN, ONE_SIDED_PAIRS, ONE_SIDED_SINGLES = range(3)

# What each activation is made of: the function b, and whether phi is its positive side only.
FORMS: dict[str, tuple[int, bool]] = {
    "relu_tanh": (TANH, True),
    "clip01": (HARDTANH, True),
    "tanh": (TANH, False),
    "erf": (ERF, False),
    "relu": (LINEAR, True),
    "sin": (SIN, False),
    "quadratic": (SQUARE, False),
    "hardtanh": (HARDTANH, False),
    "tanh_squared": (TANH_SQUARED, False),
}
# f at -x over f at x, for phi = b.
PARITY = {"none": 0.0, "odd": -1.0, "even": 1.0}


def mode_of(is_one_sided: bool, is_paired: bool) -> int:
    """How phi is made of b on such slots."""
    if not is_one_sided:
        return PLAIN
    return ONE_SIDED_PAIRS if is_paired else ONE_SIDED_SINGLES


# erfcx(x) = exp(x^2) erfc(x) = P(x)/(1 + x Q(x)) on [0, 4], error 1.9e-8 after the factor exp(-x^2).
ERFCX_P = (1.000000018507999, 0.5263708016242853, 0.14194401651537428)
ERFCX_Q = (1.6547521565479046, 1.0090911945081735, 0.23642322796959789, 0.0014619218031686047)
# sin r = r S(r^2) and cos r = C(r^2) for |r| <= pi/4.
SINE = (0.99999999692634223, -0.16666650699201679, 8.3320368751259311e-03, -1.9504021996872428e-04)
# sin(pi t/4) = t S(t^2) and cos(pi t/4) = C(t^2) for |t| <= 1, errors 2.4e-9 and 4.7e-11.
SINE_OF_EIGHTHS = (7.853981609834030e-01, -8.074543483021242e-02, 2.490007127096544e-03, -3.595450778468012e-05)
COSINE_OF_EIGHTHS = (
    9.9999999995260025e-01,
    -3.0842513516183878e-01,
    1.5854325246187073e-02,
    -3.2593861433008464e-04,
    3.5298113284371047e-06,
)
COSINE = tuple(c * (4 / math.pi) ** (2 * k) for k, c in enumerate(COSINE_OF_EIGHTHS))
# log(1 + f) = f L(f) for f in [sqrt(1/2) - 1, sqrt(2) - 1], relative error 2.6e-8.
LOGARITHM = (
    0.9999999741895875,
    -0.4999998796419747,
    0.3333418562606423,
    -0.25002074067411034,
    0.19956833546161715,
    -0.16562393117726282,
    0.14952266769278807,
    -0.14366842784230102,
    0.08722354981339064,
)
