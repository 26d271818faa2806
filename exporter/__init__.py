"""Torch model -> exported graph -> rewritten graph -> engine -> bundle."""
