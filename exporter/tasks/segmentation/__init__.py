"""Segmenters in an export: maps of logits, masks in the report, PyTorch beside the bundles on masks."""
