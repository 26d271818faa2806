"""Fused ops of vision models: attention in windows, channels and gates, pooling, a depthwise convolution."""
