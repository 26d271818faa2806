"""Fused ops on the device: schema, kernel pack, registration with TensorRT."""
