"""torch model -> exported graphs, for grounding: the picture's tower, the fixed prefix, the instruction over it."""
