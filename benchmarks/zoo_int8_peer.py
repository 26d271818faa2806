"""The peer of zoo_int8.py: ``quantize_static`` on the plain export of a model, in every setting of ``PEERS``; the best stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from apart import Notes
from steps import first_lines

from edgesmith.calibration.judge.accuracy import AGREEMENT, measure, sqnr_db
from edgesmith.runtime.ground.numbers import smallest_cosine

PLAIN, PEER = "plain.onnx", "peer.onnx"
TYPES = {"u8s8": "QUInt8", "s8s8": "QInt8"}
WEIGHTED = ["Conv", "Gemm", "MatMul"]  # the operators with weights alone, in place of all that the tool knows
PEERS: dict[str, tuple[str, str, list[str] | None]] = {
    "u8s8 MinMax": ("u8s8", "MinMax", None),
    "u8s8 Percentile": ("u8s8", "Percentile", None),
    "u8s8 Entropy": ("u8s8", "Entropy", None),
    "s8s8 MinMax": ("s8s8", "MinMax", None),
    "s8s8 Percentile": ("s8s8", "Percentile", None),
    "u8s8 MinMax, weighted only": ("u8s8", "MinMax", WEIGHTED),
    "u8s8 Percentile, weighted only": ("u8s8", "Percentile", WEIGHTED),
}


def peer(name: str, folder: Path, notes: Notes) -> None:
    """Every setting of the peer on the held-out pictures; ``PEER`` is the best of them."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with np.load(folder / "pictures.npz") as held:
        pictures, images, logits = held["calibration"], held["held_out"], held["logits"]

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {feed: image[None]}

    feed = opened(folder / PLAIN).get_inputs()[0].name
    quant_pre_process(folder / PLAIN, folder / "prepared.onnx")
    rows: dict[str, Any] = {}
    best = -np.inf
    for key, (types, method, only) in PEERS.items():
        made = folder / "made.onnx"
        try:
            quantize_static(
                folder / "prepared.onnx", made, Reader(), per_channel=True, op_types_to_quantize=only,
                activation_type=QuantType[TYPES[types]], weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod[method],
                calibration_cache_path=folder / f"ranges-{method}.json",  # the ranges are those of the method
            )  # fmt: skip
            rows[key] = figures(answers(made, images), logits)
        except Exception as error:  # noqa: BLE001  a peer's failure is a row
            rows[key] = {"failed": first_lines(error)}
            continue
        finally:
            notes.put(settings=rows)
        if (rows[key]["sqnr_db"] or -np.inf) > best:
            best = rows[key]["sqnr_db"]
            made.replace(folder / PEER)
    notes.put(
        best=max((key for key in rows if "failed" not in rows[key]), key=lambda key: rows[key]["sqnr_db"] or -np.inf)
    )


def figures(found: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """SQNR in dB, share of equal top-1 in percent, cosine of the worst picture."""
    db = sqnr_db(logits, found)
    return {"sqnr_db": db if np.isfinite(db) else None, "agreement": measure(AGREEMENT, found, logits).value, "cosine": smallest_cosine(logits, found)}  # fmt: skip


def answers(file: Path, images: np.ndarray) -> np.ndarray:
    """(n, classes) as a user of ONNX Runtime gets them: all optimisations, one picture at a time."""
    session = opened(file)
    feed = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {feed: image[None]})[0] for image in images])


def opened(file: Path) -> Any:
    """On one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
