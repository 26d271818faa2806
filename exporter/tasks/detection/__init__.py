"""Detectors in an export: thresholds, suppression in the graph, rows of agreement, pictures of the report."""
