"""Bundle -> tensors -> report. On the device: numpy, OpenCV and one engine library; no torch, no onnx."""
