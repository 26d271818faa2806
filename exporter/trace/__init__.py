"""Torch model -> exported graph."""
