"""VAN, an image classifier: attention by large-kernel convolutions. Facts of its variants; the network, ours."""
