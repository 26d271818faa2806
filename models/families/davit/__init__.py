"""DaViT."""
