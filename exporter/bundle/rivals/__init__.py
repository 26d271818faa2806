"""Builds that compete: precisions tried for ``auto``, quantised against floating point, engine against engine."""
