"""One network as files that take their pictures in other ways, and with its weights beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
net ({kind}[{shape}] images) => (float[{batch}, 4] logits)
{{
  given = Cast<to = 1>(images)
  {inside}
  made = Conv(first, filters)
  mean = GlobalAveragePool(made)
  logits = Flatten<axis = 1>(mean)
}}
"""
FILTERS = np.random.default_rng(4).standard_normal((4, 3, 3, 3)).astype(np.float32)


def picture_file(
    path: Path, kind: str = "float", last: bool = False, channels: int = 3, batch: str | int = "B", inside: str = ""
) -> Path:
    """A network of one Conv that reads ``kind`` pictures of 8 x 8; ``inside`` is what it does to them first (given > first)."""
    sizes = (8, 8, channels) if last else (channels, 8, 8)
    steps = inside or ("first = Transpose<perm = [0, 3, 1, 2]>(given)" if last else "first = Identity(given)")
    shape = ", ".join(map(str, (batch, *sizes)))
    model = onnx.parser.parse_model(TEXT.format(kind=kind, shape=shape, batch=batch, inside=steps))
    filters = FILTERS[:, [0, 1, 2, 0][:channels]] if channels != 1 else FILTERS[:, :1]
    model.graph.initializer.append(numpy_helper.from_array(filters, "filters"))
    for node in model.graph.node:
        node.name = node.output[0]
    onnx.save(model, path)
    return path


def beside(source: Path, path: Path) -> Path:
    """The same with all weights in ``model.onnx.data`` of its folder, as torch writes them."""
    path.parent.mkdir(exist_ok=True)
    onnx.save(onnx.load(source), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return path
