"""Grounding in an export: the screens it will see, and how keys and values are stored."""
