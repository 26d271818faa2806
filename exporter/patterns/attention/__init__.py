"""Rewrites of attention: heads, gates, windows, channels, and rows that nobody reads."""
