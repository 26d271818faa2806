"""Networks by family: one folder each with its facts, its network and its checkpoint keys."""
