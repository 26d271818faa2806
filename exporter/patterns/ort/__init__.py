"""Forms that ONNX Runtime's kernels on a CPU take, for graphs of long sequences; no other engine may see them."""

from .attention_in_cache import AttentionInCache
from .bias_in_gemm import BiasInGemm
from .rotary_node import RotaryNode

IN_CACHE = (RotaryNode, AttentionInCache, BiasInGemm)  # in this order: the attention reads what the rotation leaves
