"""Rewrites of a detector's end: distances, levels, candidates."""
