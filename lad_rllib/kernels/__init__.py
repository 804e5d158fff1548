"""Compiled kernels (numba) that take the place of torch's operations for many small networks on the CPU."""
