"""Segmentation on the device: logits of each place of a map -> the class of each pixel of the picture."""
