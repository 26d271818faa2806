"""An ONNX file as the source of an export: tried and simplified in a process of its own, then read; it judges what is made of it."""
