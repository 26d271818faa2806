"""Rewrites of what stands between the product of queries and keys and its softmax, or right behind it."""
