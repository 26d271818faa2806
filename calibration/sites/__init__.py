"""Where a graph can be quantised: the nodes, what each reads and writes, and which tensors to watch."""
