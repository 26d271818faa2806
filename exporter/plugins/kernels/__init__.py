"""Triton sources of the fused ops, one op a file; imported by the compiler and by tests, never by the rest of the package."""
