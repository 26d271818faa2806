"""The names of the precisions, and how far a device may be from PyTorch in each: what an export is held to, and the self-test.

What only the maker of a bundle asks of a precision stands in calibration/precisions.py.
"""

FP32, FP16, BF16 = "fp32", "fp16", "bf16"
INT8, FP8, INT4, NVFP4 = "int8", "fp8", "int4", "nvfp4"

# float32: engines sum in other orders; 2e-5 of the largest value (at least of 1) is ten times what good ones differ by
FP32_MAX_ABS = 2e-5
# deep networks without normalisation lose more than that in float32 itself, whoever computes it: two right computations are
# apart by what each of them is from float64, and an engine that sums in longer runs loses more than PyTorch does
OWN_ERRORS = 4
FP32_MOST_ABS = 1e-3  # of the largest value, whatever float32 costs: beyond it no comparison tells right from wrong
# fp16 keeps 10 fraction bits, bf16 7: no absolute limit can hold over many layers, the direction of the outputs must
COSINE = {FP16: 0.9999, BF16: 0.999}
# below these a quantised graph is broken whatever its accuracy (0.95 is a signal 10 dB above its error); how good it has
# to be is the budget of the export, and on the device what was measured when it was made
QUANTISED = {INT8: 0.95, FP8: 0.95, INT4: 0.9, NVFP4: 0.9}
DEVICE_ERROR = 4  # times the error energy (6 dB): another engine rounds the same codes in another order


def quantised(precision: str) -> bool:
    """Whether a bundle of this precision is quantised; a name that is not ours was added where it was made, and is."""
    return precision not in (FP32, *COSINE)


def least_cosine(precision: str) -> float:
    """Of a quantised graph; one that was added elsewhere is held to the least of ours, and to what was measured there."""
    return QUANTISED.get(precision, min(QUANTISED.values()))
