"""Rewrites of tokens and maps: which layout a run of layers is computed in."""
