"""DaViT, an image classifier: attention within windows and between channels. Facts of its variants; timm's network, its keys renamed."""
