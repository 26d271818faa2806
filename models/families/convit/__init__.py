"""ConViT."""
