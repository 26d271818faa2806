"""Rewrites that only take away: constants, shapes, pads and nodes that do nothing."""
