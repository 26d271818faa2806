"""``edgesmith triton``: bundles -> a model repository of NVIDIA Triton Inference Server, and whether one holds."""
