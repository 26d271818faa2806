"""ViT with GGeM pooling."""
