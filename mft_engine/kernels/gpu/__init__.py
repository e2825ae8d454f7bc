"""Steps of one readout as Triton kernels: for devices with such a compiler, imported only there."""
