"""One quantised ONNX file, whoever wrote it -> its figures, every file by the same rule.

    accuracy     1000 held-out digits on ONNX Runtime as a user runs it (all optimisations, one thread), against the
                 plain float export: top-1, agreement, SQNR of the logits
    share        MACs whose two operands are codes, of all MACs of the file
    TensorRT-RTX the parser on the file as it is; then an engine for sm89, with fp16 around the codes: a file whose rest is
                 float32 is cast by exporter/precision/casts.py; kernels and fused attention by the X-ray
    latency      CPU time of one thread, batch 1, all files of a model in turns (runtime/session/benchmark.py)

fp8 does not load in ONNX Runtime on a CPU; such a file is judged with ``session.disable_quant_qdq`` and not timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from int8_peers import first_line

from edgesmith.runtime.session.benchmark import measure as take_turns

if TYPE_CHECKING:
    import onnx_ir as ir

AS_WRITTEN = "session.disable_quant_qdq"  # "1": Q and DQ stay as they are and are computed as written
BUILD_LIMIT_S = 240.0
FAILED = (Exception,)  # a row of the table, whatever a file of another tool does to the reader


class Opened:
    """A file on ONNX Runtime, one thread: (n, 3, H, W) -> (n, ...), picture by picture."""

    def __init__(self, file: Path, settings: Mapping[str, str] | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        for key, value in (settings or {}).items():
            options.add_session_config_entry(key, value)
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def __call__(self, images: np.ndarray) -> np.ndarray:
        found = [self.session.run(None, {self.name: images[at : at + 1]})[0] for at in range(len(images))]
        return np.concatenate(found).astype(np.float32)


def accuracy(file: Path, plain: Path, held_out: Path) -> dict[str, Any]:
    """Top-1, agreement and SQNR; ``runs`` says how ONNX Runtime took the file, ``failed`` why it did not."""
    from edgesmith.calibration.judge.accuracy import AGREEMENT, TOP1, measure, sqnr_db

    settings: dict[str, str] = {}
    try:
        run = Opened(file)
    except FAILED as error:
        if "float8" not in str(error):
            return {"runs": "no", "failed": first_line(error)}
        settings = {AS_WRITTEN: "1"}
        try:
            run = Opened(file, settings)
        except FAILED as again:
            return {"runs": "no", "failed": first_line(again)}
    with np.load(held_out) as held:
        images, labels = held["images"], held["labels"]
    reference, found = answers(plain, images), run(images)
    top1, db = measure(TOP1, found, labels), sqnr_db(reference, found)
    return {
        "runs": next(iter(settings), "as it is"), "top1": top1.value, "low_top1": top1.low, "high_top1": top1.high, "n": top1.n,
        "agreement": measure(AGREEMENT, found, reference).value, "sqnr_db": db if np.isfinite(db) else None,
    }  # fmt: skip


def answers(plain: Path, images: np.ndarray) -> np.ndarray:
    """What the float export says of the held-out pictures; computed once and kept beside it."""
    kept = plain.with_suffix(".answers.npy")
    if not kept.is_file():
        np.save(kept, Opened(plain)(images))
    return np.load(kept)


def int8_share(file: Path, pictures: Path) -> float | None:
    """Share of the MACs whose operands are both codes; None where the file cannot be read or run."""
    import onnx_ir as ir

    from edgesmith.calibration.report.file_figures import measure_places
    from edgesmith.calibration.report.quantised_file import read_places

    try:
        with np.load(pictures) as held:
            image = held["images"][:1]
        probed, places = read_places(ir.load(file))
        both = {one.node for one in places if len(one.activations) + (one.weight is not None) > 1}
        return float(sum(row["share"] for row in measure_places(probed, places, image) if row["node"] in both))
    except FAILED:
        return None


def tensorrt(file: Path, build: bool) -> dict[str, Any]:
    """Whether TensorRT-RTX parses the file, and what it builds from it."""
    import onnx_ir as ir

    from edgesmith.exporter.engine.rtx import build_rtx, parse_only
    from edgesmith.exporter.engine.xray import read_engine
    from edgesmith.exporter.precision.casts import to_precision

    try:
        parse_only(file, timeout_s=BUILD_LIMIT_S)
    except FAILED as error:
        return {"parses": False, "refusal": _because(error)}
    if not build:
        return {"parses": True}
    found: dict[str, Any] = {"parses": True, "rest": "fp16, its own"}
    try:
        graph = ir.load(file)
        if not in_fp16(graph):
            found["rest"] = "fp16, cast by us"
            graph = to_precision(graph, "fp16", engine="tensorrt_rtx").model
        xray = read_engine(build_rtx(graph, "sm89", timeout_s=BUILD_LIMIT_S).data)
    except FAILED as error:
        return {**found, "refusal": _because(error)}
    return {**found, "kernels": xray.kernels, "fused_attention": xray.fused_attention, "moved_bytes": xray.moved_bytes}


def in_fp16(graph: ir.Model) -> bool:
    """Whether the values around the codes are fp16 already: QuantizeLinear has a scale of the type that it reads."""
    import onnx_ir as ir

    if graph.metadata_props.get("edgesmith.precision") == "fp16":  # our own float graph has no codes
        return True
    scales = [node.inputs[1] for node in graph.graph if node.op_type == "QuantizeLinear"]
    return any(scale is not None and scale.dtype == ir.DataType.FLOAT16 for scale in scales)


def latency(files: Mapping[str, Path], images: np.ndarray, rounds: int) -> dict[str, dict[str, float]]:
    """Rows in turns, the first is what the ratios are to; a file that does not load is left out."""
    candidates = {}
    for row, file in files.items():
        try:
            opened = Opened(file)
        except FAILED:
            continue
        candidates[row] = lambda opened=opened: opened(images[:1])
    timings = take_turns(candidates, rounds=rounds, warmup=3, clock="cpu")
    return {
        row: {"ms": one.median_ms, "ratio": one.time_ratio, "low": one.time_ratio_low, "high": one.time_ratio_high}
        for row, one in timings.items()
    }


def _because(error: BaseException) -> str:
    """What the parser or the builder said, without our own headline."""
    said = [line.strip().removeprefix("found").strip() for line in str(error).splitlines()[1:] if line.strip()]
    return (said[0] if said else first_line(error))[:160]
