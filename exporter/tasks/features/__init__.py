"""Networks without a classifier in an export: how near their features are, and what they are worth on pictures."""
