"""What a manifest tells of a detector, for report.py: of what kind each value is. Asked when a bundle is opened."""

from __future__ import annotations

from ...report.kinds import COUNT, FIGURE, LONG_TEXT, PLAIN, TEXT, either, fields, listed, named

BOX = fields({"label": PLAIN, "score_judge": FIGURE, "score_bundle": FIGURE, "box_px": FIGURE, "box": listed(FIGURE)})
PICTURE = fields(
    {
        "name": PLAIN, "file": TEXT, "size": listed(COUNT), "rows": listed(BOX), "judge": COUNT, "bundle": COUNT,
        "missing": COUNT, "extra": COUNT, "flips": COUNT, "note": LONG_TEXT,
    }
)  # fmt: skip
PRECISION = dict.fromkeys(("map", "map50", "map75", "small", "medium", "large", "low", "high"), FIGURE)
FIGURES = fields(
    {**PRECISION, "pictures": PLAIN, "boxes": PLAIN, "source": PLAIN,
     "per_class": named(fields({"map": FIGURE, "map50": FIGURE, "boxes": PLAIN}))}
)  # fmt: skip
ROW = fields(
    {
        "detections": COUNT,
        "matched": FIGURE,
        "missing": COUNT,
        "extra": COUNT,
        "flips": COUNT,
        "box_px": FIGURE,
        "score_abs": FIGURE,
    }
)
END_TO_END = fields(
    {
        **dict.fromkeys(("preprocess_ms", "infer_ms", "postprocess_ms", "total_ms"), FIGURE),
        "picture": PLAIN,
        "boxes": PLAIN,
        "rounds": PLAIN,
    }
)
TOLD = fields(
    {
        "parity": listed(ROW),
        "detection_report": fields({"pictures": listed(PICTURE), "map": either(FIGURE, FIGURES)}),
        "benchmark": fields({"end_to_end": END_TO_END}),
    }
)
