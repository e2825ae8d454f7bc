"""How many numbers a compiled loop takes at once."""

# The compiler infers the types of what it compiles.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
from __future__ import annotations

from numba import types
from numba.extending import intrinsic

_WIDEST = '"prefer-vector-width"="512"'


@intrinsic
def use_widest_vectors(typingctx):
    """In a loop that is mostly arithmetic: 512 bits where the processor has them.

    On Intel's servers the compiler's own choice is 256, which spares other programs a slower clock; loops that fill the
    processor gain a sixth. Elsewhere this changes nothing.
    """

    def build(context, builder, signature, arguments):
        # An attribute that llvmlite does not know by name; it writes whatever is in the set.
        set.add(builder.function.attributes, _WIDEST)
        return context.get_dummy_value()

    return types.none(), build
