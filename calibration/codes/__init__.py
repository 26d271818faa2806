"""Numbers as codes: ranges, scales, rounding, blocks, and the float types of 8 and 4 bits."""
