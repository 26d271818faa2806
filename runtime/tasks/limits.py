"""How far a device may be from PyTorch, by precision: what an export is held to, and the self-test of a bundle."""

# float32: engines sum in other orders; 2e-5 of the largest value (at least of 1) is ten times what good ones differ by
FP32_MAX_ABS = 2e-5
# fp16 keeps 10 fraction bits, bf16 7: no absolute limit can hold over many layers, the direction of the outputs must
COSINE = {"fp16": 0.9999, "bf16": 0.999}
# below these a quantised graph is broken whatever its accuracy (0.95 is a signal 10 dB above its error); how good it has
# to be is the budget of the export, and on the device what was measured when it was made
QUANTISED = {"int8": 0.95, "fp8": 0.95, "int4": 0.9, "nvfp4": 0.9}
DEVICE_ERROR = 4  # times the error energy (6 dB): another engine rounds the same codes in another order
