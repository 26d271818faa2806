"""Torch model -> exported graph: traced at fixed sizes or with open ones, its inputs and outputs named."""
