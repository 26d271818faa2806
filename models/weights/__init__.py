"""Checkpoints: downloaded, read with weights only, fitted to a network."""
