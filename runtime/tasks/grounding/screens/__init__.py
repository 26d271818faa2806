"""Screens that are open: what was computed of them once, kept for every further instruction."""
