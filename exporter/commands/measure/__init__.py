"""Commands that measure: speed beside the peers, memory, accuracy on a set of one's own."""
