"""Rewritten or quantised graph -> typed graph: which nodes compute in which type."""
