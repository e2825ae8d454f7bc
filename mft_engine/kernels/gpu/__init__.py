"""Steps of one readout as Triton kernels: for devices with such a compiler, imported only there."""

import os

# Products and sums are fused, as they were where the kernels were measured; Triton 3.10 wants that to be asked for.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
