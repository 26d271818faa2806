"""ConViT, an image classifier: attention that begins as a soft convolution. Facts of its variants; timm's network made fit to export."""
