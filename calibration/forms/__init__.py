"""How a quantised graph is written: one form a file (Q/DQ, dynamic, u8, blocks, nbits, weights only)."""
