"""The parts of a manifest that are told and not computed with, and of what kind each value in them is.

One table a part, in the order of the page. Whoever reads a part relies on its table: it is asked when a bundle is opened
(runtime/bundle/contents.py), and by the task for what is the task's own.
"""

from __future__ import annotations

from ..ground.limits import FP16
from .kinds import COUNT, DECIBEL, FIGURE, FLAG, LONG_TEXT, PLAIN, TEXT, TIME, either, fields, listed, named

NOTES = listed(LONG_TEXT)
SIZES = listed(either(COUNT, TEXT))  # a shape, of which some axes may have names
COUNTS = named(COUNT)
FACTS = named(PLAIN, nulls=True)

STAGES = listed(
    fields({"name": TEXT, "seconds": FIGURE, "size_bytes": FIGURE, "bytes": FIGURE, "detail": PLAIN, "file": PLAIN})
)
PARITY = listed(
    fields(
        {
            "stage": PLAIN, "runner": PLAIN, "inputs": PLAIN, "shape": SIZES, "count": PLAIN, "passed": FLAG, "limit": PLAIN,
            "max_abs": FIGURE, "largest": FIGURE, "cosine": FIGURE, "top1": FIGURE, "top5": FIGURE,
        }
    )
)  # fmt: skip
REFUSED = listed(fields({"node": PLAIN, "why": PLAIN}))
FUSED = fields({"route": TEXT, "ops": COUNTS})
REWRITE = fields(
    {
        "passes": listed(fields({"name": PLAIN, "count": COUNT, "refused": REFUSED, "seconds": FIGURE})),
        "skipped": listed(TEXT), "left_out": listed(fields({"name": PLAIN, "why": PLAIN})), "nodes_before": COUNTS, "nodes_after": COUNTS, "fused": FUSED,
    }
)  # fmt: skip
PRECISION = {"precision": TEXT, "casts": COUNT, "islands": listed(fields({"node": PLAIN, "op": PLAIN, "why": PLAIN}))}
XRAY = fields(
    {
        "kernels": COUNT, "fused_attention": COUNT, "device_memory_bytes": FIGURE, "constant_bytes": FIGURE,
        "engine_bytes": FIGURE, "moved_bytes": FIGURE, "recognised": FIGURE, "counts": COUNTS, "notes": NOTES,
        "attention": listed(fields({"kernel": PLAIN, "layers": listed(TEXT)})),
    }
)  # fmt: skip
ENGINE = fields(
    {"file": TEXT, "arch": TEXT, "builder": TEXT, "version": TEXT, "seal": TEXT, "xray": XRAY, "summary": PLAIN}
)
RATIO = {
    key: FIGURE
    for key in ("time_ratio", "time_ratio_low", "time_ratio_high", "ratio", "ratio_low", "ratio_high", "low", "high")
}
BENCHMARK = fields(
    {
        "clock": TEXT, "rounds": COUNT, "baseline": PLAIN, "threads": PLAIN, "shape": SIZES, "machine": FACTS,
        "skipped": FACTS,
        "rows": listed(
            fields(
                {
                    "name": TEXT, "median_ms": TIME, "p90_ms": TIME, "p99_ms": FIGURE, "min_ms": FIGURE,
                    "throughput_per_s": FIGURE, "peak_rss_bytes": FIGURE, "max_abs": FIGURE, "matched": FIGURE, **RATIO,
                },
                needed=("name", "median_ms", "p90_ms"),
            )
        ),
    }
)  # fmt: skip

SCORE = fields({"value": FIGURE, "n": COUNT, "low": FIGURE, "high": FIGURE, "metric": TEXT})
DROP = fields({"points": FIGURE, "low": FIGURE, "high": FIGURE, "n": COUNT, "lost": COUNT, "won": COUNT})
ACCURACY = fields(
    {
        "metric": TEXT, "reference": SCORE, "quantised": SCORE, "drop": DROP, "agreement": FIGURE, "sqnr_db": DECIBEL,
        "cosine": FIGURE,
    }
)  # fmt: skip
STEP = fields({"high": COUNT, "share": FIGURE, "drop": DROP, "sqnr_db": DECIBEL, "agreement": FIGURE, "holds": FLAG})
NODE = fields(
    {
        "node": TEXT, "op": TEXT, "kind": TEXT, "share": FIGURE, "quantised": FLAG, "why": PLAIN, "types": PLAIN,
        "reasons": listed(TEXT), "scale": FIGURE, "zero_point": FIGURE, "low": FIGURE, "high": FIGURE, "rule": TEXT,
        "tried": named(FIGURE, nulls=True), "clipped": FIGURE, "activation_sqnr_db": DECIBEL, "weight_sqnr_db": DECIBEL,
        "output_sqnr_db": DECIBEL, "weight_rule": PLAIN, "weight_scales": PLAIN, "block": PLAIN,
    }
)  # fmt: skip
SMOOTHED = fields(
    {"kind": PLAIN, "nodes": listed(TEXT), "strength": FIGURE, "largest_factor": FIGURE, "largest": FIGURE}
)
AUDIT = fields(
    {
        FP16: XRAY, "quantised": XRAY, "attention_lost": listed(listed(TEXT)), "in_name_only": either(listed(TEXT), named(listed(TEXT))),
        "sites": PLAIN, "sites_on_integer_kernels": PLAIN, "verdict": PLAIN,
    }
)  # fmt: skip
QUANTISATION = fields(
    {
        "precision": TEXT, "form": TEXT, "share": FIGURE, "share_of_weighted": FIGURE, "nodes": listed(NODE),
        "smoothed": listed(SMOOTHED), "scales_sha256": TEXT, "notes": NOTES, "accuracy": ACCURACY,
        "budget": fields({"max_drop": FIGURE, "met": FLAG, "high": COUNT, "curve": listed(STEP), "notes": NOTES}),
        "floor": fields({"floor_db": FIGURE, "met": FLAG, "high": COUNT, "curve": listed(STEP), "notes": NOTES}),
        "data": fields(
            {
                "source": PLAIN, "kind": TEXT, "images": COUNT, "sha256": TEXT, "held_out": COUNT,
                "skipped": listed(fields({"name": PLAIN, "why": PLAIN})), "notes": NOTES,
            }
        ),
        "sizes": named(FIGURE, nulls=True), "latency": fields({**RATIO, "runner": PLAIN, "against": PLAIN}),
        "recipe": fields({}), "xray": AUDIT,
    }
)  # fmt: skip
