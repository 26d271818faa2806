"""Rewrites that put fused ops in: each becomes one node of domain edgesmith."""
