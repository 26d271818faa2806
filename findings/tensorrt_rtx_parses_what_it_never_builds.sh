#!/usr/bin/env bash
# GUESS    a graph that TensorRT-RTX's ONNX parser takes, and of which supports_model_v2 says yes, is one that it builds: the parser knows the
#          operators that there are, and NonMaxSuppression, TopK and Attention are on its list
# SEEN     it parses all three and says that it supports them; the builder ends without an engine for NonMaxSuppression at all, for TopK with
#          more than 3840, for Attention in float32, or in float16 with heads of more than 256 channels. No GPU is needed to see it
# COST     a check in CI that parses is green for months, and the first build for a device fails
# RUN      bash findings/tensorrt_rtx_parses_what_it_never_builds.sh     x86 Linux
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tensorrt-rtx==1.7.1.116 onnx==1.23.2 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import tensorrt_rtx as trt
from onnx.parser import parse_model

print("tensorrt_rtx", trt.__version__)
quiet = trt.Logger(trt.Logger.INTERNAL_ERROR)

def attention(kind: str, width: int) -> str:
    shape = f"{kind}[1, 2, 16, {width}]"
    return f"g ({shape} q, {shape} k, {shape} v) => ({shape} y) {{ y = Attention(q, k, v) }}"

def topk(k: int) -> str:
    return f"g (float[1, 5000] x) => (float[1, {k}] y, int64[1, {k}] i) <int64[1] k = {{{k}}}> {{ y, i = TopK(x, k) }}"

NMS = """g (float[1, 9, 4] b, float[1, 1, 9] s) => (int64[n, 3] y) <int64[1] m = {5}, float[1] t = {0.5}>
{ y = NonMaxSuppression(b, s, m, t) }"""
for name, text, builds in (
    ("Attention, float16, heads of 256", attention("float16", 256), True),
    ("Attention, float16, heads of 264", attention("float16", 264), False),
    ("Attention, float32, heads of 32", attention("float", 32), False),
    ("TopK, 3840", topk(3840), True),
    ("TopK, 3841", topk(3841), False),
    ("NonMaxSuppression", NMS, False),
):
    model = parse_model('<ir_version: 10, opset_import: ["" : 23]> ' + text).SerializeToString()
    builder = trt.Builder(quiet)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, quiet)
    supported = parser.supports_model_v2(model)

    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, quiet)
    parsed = parser.parse(model)
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    built = builder.build_serialized_network(network, config) is not None
    print(f"{name}: supports_model_v2 {bool(supported)}, parsed {parsed}, built {built}")
    assert supported and parsed and built == builds, "the behaviour has changed"
PYTHON
