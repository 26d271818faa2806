"""Triton sources of the ops of a cache: packed, rotated, attended."""
