"""Fourier transforms as products with constant matrices, which every engine has."""
