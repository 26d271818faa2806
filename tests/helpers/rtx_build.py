"""Does the real TensorRT parser take a graph, and does the builder make an engine of it; without a GPU.

In the process of the test, so that a dozen small graphs cost one import; exporter/engine/rtx.py builds in a child and takes one
shape for all inputs, these graphs have several.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import pytest

Range = tuple[int, int, int]  # smallest, usual, largest
USUAL: dict[str, Range] = {"B": (1, 1, 2)}
OTHERS: Range = (1, 49, 128)
ARCH = "SM89"


def builds_on_rtx(model: onnx.ModelProto, *, sizes: Mapping[str, Range] | None = None) -> int:
    """Parse and build ``model`` for ARCH; the number of layers of the parsed network.

    ``sizes`` gives the range of an open axis by its name in the graph ({"N": (1, 64, 128)}); skips without the library.

    Raises:
        AssertionError: the parser or the builder refused; in their words.
    """
    trt = pytest.importorskip("tensorrt_rtx")
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        errors = (parser.get_error(index) for index in range(parser.num_errors))
        raise AssertionError("parser: " + "; ".join(f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in errors))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, ARCH), 0)
    ranges = {**USUAL, **(sizes or {})}
    profile = builder.create_optimization_profile()
    for info in model.graph.input:
        dims = info.type.tensor_type.shape.dim
        if any(dim.dim_param for dim in dims):
            every = [ranges.get(dim.dim_param, OTHERS) if dim.dim_param else (dim.dim_value,) * 3 for dim in dims]
            profile.set_shape(info.name, *zip(*every, strict=True))
    config.add_optimization_profile(profile)
    if builder.build_serialized_network(network, config) is None:
        raise AssertionError("builder: " + "; ".join(logger.errors))
    return int(network.num_layers)


def _logger(trt):
    class Logger(trt.ILogger):
        """Keeps what is wrong; the rest is of no use to a test."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity, text: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(text)

    return Logger()
