"""A detector in int8 as its peers make it when somebody tunes them by hand: ONNX Runtime's tools, ModelOpt and NNCF.

    python benchmarks/detection_peers.py jobs.json       as int8_peers.py, with the peers below

By hand means what each tool's documentation advises for a detector whose boxes come out of the graph: one scale an output
channel, codes for SiLU that are not symmetric where the tool has them, and the tail in floating point: the last
convolution before each output and all that decodes behind it. ModelOpt and NNCF live in an environment of their own (`make peers`).
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
from int8_peers import Peer, main, modelopt, nncf, ort_static

HERE = Path(__file__).parent
PEERS_PYTHON = HERE.parent / ".venv-peers" / "bin" / "python"
LIMIT_S = 3600.0


def tail(source: Path) -> list[str]:
    """Names of the nodes behind the last convolutions, and of those."""
    import onnx

    graph = onnx.load(source, load_external_data=False).graph
    makers = {name: node for node in graph.node for name in node.output}
    found: dict[str, None] = {}
    left = [value.name for value in graph.output]
    while left:
        node = makers.get(left.pop())
        if node is None or node.name in found:
            continue
        found[node.name] = None
        if node.op_type != "Conv":
            left += node.input
    return list(found)


DETECTOR_PEERS: dict[str, Peer] = {
    "ORT static, by hand": ort_static(
        but=tail, activation_type="QUInt8", weight_type="QInt8", per_channel=True,
        extra_options={"CalibMovingAverage": True},
    ),
    "ModelOpt int8, defaults": modelopt(quantize_mode="int8"),
    "ModelOpt int8, by hand": modelopt(but=tail, quantize_mode="int8", calibration_method="entropy", op_types_to_quantize=["Conv"]),
    "NNCF, defaults": nncf(),
    "NNCF, by hand": nncf(but=tail, preset="MIXED"),
}  # fmt: skip


def make(peer: str, plain: Path, images: np.ndarray, output: Path) -> None:
    """The file of one peer, in the environment that has it. RuntimeError with the first line of what went wrong."""
    if peer.startswith("ORT"):
        DETECTOR_PEERS[peer](plain, images, output)
        return
    if not PEERS_PYTHON.is_file():
        raise RuntimeError("its environment is missing: make peers")
    pictures, result, listing = (output.with_suffix(end) for end in (".npz", ".made", ".jobs"))
    np.savez(pictures, images=images)
    job = {"peer": peer, "source": str(plain), "pictures": str(pictures), "output": str(output), "result": str(result)}
    listing.write_text(json.dumps([job]))
    command = [PEERS_PYTHON, Path(__file__), listing]
    code = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False).returncode
    found = (
        json.loads(result.read_text()) if result.is_file() else {"failed": f"the process ended with exit code {code}"}
    )
    if "failed" in found:
        raise RuntimeError(found["failed"])


if __name__ == "__main__":
    main(DETECTOR_PEERS)
