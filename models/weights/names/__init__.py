"""Which tensors of a checkpoint are those of the network: wrappers, prefixes, averages, heads that stand apart."""
