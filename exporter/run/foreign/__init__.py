"""ONNX files that somebody else wrote: looked through, read, tried in a process of their own, fed with pictures."""
