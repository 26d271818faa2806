"""Fused ops of a cache of keys and values: packed to 8, 4 and 2 bits, rotated, attended."""
