"""SMT, an image classifier: scale-aware modulation first, attention later. Facts of its variants; the network, ours."""
