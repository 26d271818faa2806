"""Rewrites of convolutions, and of what folds into them."""
