"""Weights of few bits: their codes, the forms that engines read, the file that graphs share, and what calibration makes of the tower."""
