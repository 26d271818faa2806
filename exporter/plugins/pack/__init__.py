"""Kernels -> the kernel pack: compiled without a GPU, assembled for every chip, the same bytes each time."""
