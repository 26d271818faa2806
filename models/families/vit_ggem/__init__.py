"""ViT with GGeM pooling, an image classifier: tokens averaged with learned powers. Facts of its variants; timm's ViT under our pooling."""
