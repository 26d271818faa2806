"""What the peers make of a float32 ONNX file: one quantised file a job, each tool called as its own documentation says.

    python benchmarks/int8_peers.py jobs.json       [{"peer", "source", "pictures", "output", "result"}, ...]

It stands alone, because ModelOpt and NNCF live in an environment of their own (`make peers`, int8_peers.txt) and
ONNX Runtime's tools in ours. ``pictures`` is an .npz with ``images`` (n, 3, H, W) float32, preprocessed. A job ends as a
file ``result``: seconds and versions, or the first line of the exception. A peer that takes the process with it leaves
none, and the caller goes on with the next job.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

WEIGHTED = ["Conv", "Gemm", "MatMul"]
Peer = Callable[[Path, np.ndarray, Path], None]  # float file, calibration pictures, file to write
Names = Callable[[Path], list[str]]  # file -> names of nodes in it


def ort_static(but: Names | None = None, **options: Any) -> Peer:
    """``quantize_static`` behind ``quant_pre_process``, which its documentation asks for; ``but`` names nodes to leave."""

    def quantise(source: Path, images: np.ndarray, output: Path) -> None:
        from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

        class Reader(CalibrationDataReader):  # one picture at a time: the file has batch 1
            def __init__(self) -> None:
                self.left = iter(images)

            def get_next(self) -> dict[str, np.ndarray] | None:
                image = next(self.left, None)
                return None if image is None else {_input(source): image[None]}

        chosen = {key: QuantType[value] if key.endswith("_type") else value for key, value in options.items()}
        with tempfile.TemporaryDirectory() as folder:
            prepared = _prepared(source, Path(folder))
            left = but(prepared) if but is not None else []
            if (
                "extra_options" in options
            ):  # by hand: MatMulConstBOnly does not keep static Q/DQ from attention products
                left += _attention_products(prepared)
            if left:
                chosen["nodes_to_exclude"] = left
            quantize_static(prepared, output, Reader(), **chosen)

    return quantise


def ort_dynamic(**options: Any) -> Peer:
    """``quantize_dynamic``; shapes of inner values are taken out first, or it throws on shapes that it changes itself."""

    def quantise(source: Path, images: np.ndarray, output: Path) -> None:
        import onnx
        from onnxruntime.quantization import quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            model = onnx.load(_prepared(source, Path(folder)))
            del model.graph.value_info[:]
            quantize_dynamic(model, output, **options)

    return quantise


def modelopt(but: Names | None = None, **options: Any) -> Peer:
    """``modelopt.onnx.quantization.quantize`` of the slimmed file; ``but`` names nodes to leave."""

    def quantise(source: Path, images: np.ndarray, output: Path) -> None:
        from modelopt.onnx.quantization import quantize

        with tempfile.TemporaryDirectory() as folder:
            slimmed = _slimmed(source, Path(folder))
            left = {} if but is None else {"nodes_to_exclude": [re.escape(name) for name in but(slimmed)]}
            quantize(str(slimmed), calibration_data=images, calibration_eps=["cpu"], output_path=str(output),
                     log_level="ERROR", **left, **options)  # fmt: skip

    return quantise


def nncf(but: Names | None = None, **options: str) -> Peer:
    """``nncf.quantize`` of the slimmed file; its model type and preset are given by name; ``but`` names nodes to leave."""

    def quantise(source: Path, images: np.ndarray, output: Path) -> None:
        import nncf as tool
        import onnx

        chosen: dict[str, Any] = {}
        if "model_type" in options:
            chosen["model_type"] = tool.ModelType[options["model_type"]]
        if "preset" in options:
            chosen["preset"] = tool.QuantizationPreset[options["preset"]]
        with tempfile.TemporaryDirectory() as folder:
            slimmed = _slimmed(source, Path(folder))
            if but is not None:
                chosen["ignored_scope"] = tool.IgnoredScope(names=but(slimmed))
            model, name = onnx.load(slimmed), _input(source)
            data = tool.Dataset([{name: image[None]} for image in images])
            onnx.save(tool.quantize(model, data, subset_size=len(images), **chosen), output)

    return quantise


BY_HAND = {"MatMulConstBOnly": True, "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
           "OpTypesToExcludeOutputQuantization": WEIGHTED, "DedicatedQDQPair": True}  # fmt: skip
PEERS: dict[str, Peer] = {
    "ORT static, defaults": ort_static(),
    "ORT static, u8": ort_static(activation_type="QUInt8", per_channel=True),
    "ORT static, by hand": ort_static(per_channel=True, op_types_to_quantize=WEIGHTED, extra_options=BY_HAND),
    "ORT dynamic, defaults": ort_dynamic(),
    "ORT dynamic, MatMul": ort_dynamic(per_channel=True, op_types_to_quantize=["MatMul"]),
    "ModelOpt int8, defaults": modelopt(quantize_mode="int8"),
    "ModelOpt int8, by hand": modelopt(
        quantize_mode="int8",
        calibration_method="max",
        op_types_to_quantize=WEIGHTED,
        disable_mha_qdq=True,
        dq_only=True,
    ),
    "ModelOpt fp8": modelopt(quantize_mode="fp8"),
    "NNCF, defaults": nncf(),
    "NNCF, transformer": nncf(model_type="TRANSFORMER"),
}
LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "nvidia-modelopt", "nncf", "onnx", "onnxslim", "torch")


def _input(source: Path) -> str:
    import onnx

    return str(onnx.load(source, load_external_data=False).graph.input[0].name)


def _attention_products(source: Path) -> list[str]:
    import onnx

    graph = onnx.load(source).graph
    known = {one.name for one in graph.initializer}
    known |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return [node.name for node in graph.node if node.op_type == "MatMul" and not known & set(node.input)]


def _prepared(source: Path, folder: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(source, folder / "prepared.onnx")
    return folder / "prepared.onnx"


def _slimmed(source: Path, folder: Path) -> Path:
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), folder / "slimmed.onnx")
    return folder / "slimmed.onnx"


def versions() -> dict[str, str]:
    """What is installed in this environment."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def first_line(error: BaseException) -> str:
    """``RuntimeError: what it says``, one line, short enough for a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else '(no text)'}"[:160]


def run(job: dict[str, str], peers: Mapping[str, Peer] = PEERS) -> dict[str, Any]:
    """Carry out one job of one of ``peers``; never raises for what the peer does."""
    started = time.process_time()
    try:
        with np.load(job["pictures"]) as held:
            images = held["images"]
        peers[job["peer"]](Path(job["source"]), images, Path(job["output"]))
        if not Path(job["output"]).is_file():
            raise RuntimeError("it ended without an error and without a file")
    except (Exception, SystemExit) as error:  # noqa: BLE001  a peer's failure is a row of the table
        return {"failed": first_line(error), "versions": versions()}
    return {"cpu_seconds": round(time.process_time() - started, 1), "versions": versions()}


def main(peers: Mapping[str, Peer] = PEERS) -> None:
    for job in json.loads(Path(sys.argv[1]).read_text()):
        found = run(job, peers)
        print(job["peer"], found.get("failed") or f"{found['cpu_seconds']} s", flush=True)
        Path(job["result"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
