"""The report is one file for any screen; it shows what the manifest holds, and text from outside stays text."""

import re
from html.parser import HTMLParser

import pytest

from edgesmith.runtime.bundle.report import write_report

FULL = {
    "name": "smt_tiny",
    "edgesmith": "0.1.0",
    "model": "smt_tiny",
    "paper": "Lin et al., Scale-Aware Modulation Meet Transformer, arXiv:2307.08579",
    "licence": {"code": "MIT", "weights": "MIT"},
    "weights": {"source": "smt.safetensors", "sha256": "ab" * 32},
    "task": "classification",
    "num_classes": 1000,
    "target": "rtx",
    "gpu_arch": "sm89",
    "precision": "fp16",
    "opset": 20,
    "inputs": [
        {"name": "images", "dtype": "float32", "shape": ["batch", 3, 224, 224], "min": [1, 3, 224, 224], "opt": [1, 3, 224, 224], "max": [8, 3, 224, 224]}
    ],
    "outputs": [{"name": "logits", "dtype": "float32", "shape": ["batch", 1000]}],
    "input_contract": {"size": [224, 224], "resize": "bicubic", "antialias": True, "scale": 1 / 255, "mean": [0.5, 0.5, 0.5]},
    "rewrite": {
        "passes": [
            {"name": "FoldConstants", "count": 41, "refused": []},
            {"name": "FuseGate", "count": 10, "refused": [{"node": "/stage/0/Mul", "why": "read by another node"}] * 6},
            {"name": "DropIdentity", "count": 0, "refused": []},
        ],
        "skipped": ["MergeNorm"],
        "nodes_before": {"Conv": 30, "Mul": 12},
        "nodes_after": {"Conv": 28, "Attention": 12},
    },
    "precision_report": {"precision": "fp16", "casts": 14, "islands": [{"node": "/head/Pow", "op": "Pow", "why": "overflows"}]},
    "parity": [
        {"stage": "rewritten", "runner": "ONNX Runtime", "inputs": "pictures", "shape": [1, 3, 224, 224], "count": 6, "max_abs": 4.8e-7,
         "cosine": 0.99999991, "top1": 1.0, "top5": 1.0, "limit": "max abs <= 2.0e-05", "passed": True},
        {"stage": "fp16", "runner": "ONNX Runtime", "inputs": "seeded", "shape": [1, 3, 224, 224], "count": 1, "max_abs": "inf",
         "cosine": -1.0, "top1": 0.0, "top5": 0.0, "limit": "finite numbers", "passed": False},
    ],
    "stages": [{"name": "trace", "seconds": 19.0, "size_bytes": 16_700_000, "detail": "251 nodes"}, {"name": "rewrite", "seconds": 1.25}],
    "benchmark": {
        "clock": "cpu", "rounds": 30, "baseline": "torch eager", "machine": {"cpu": "a chip", "cores": 2}, "threads": 1, "shape": [1, 3, 224, 224],
        "skipped": {"torch.compile": "no compiler here"},
        "rows": [
            {"name": "torch eager", "median_ms": 40.0, "p90_ms": 44.0, "p99_ms": 50.0, "min_ms": 39.0, "throughput_per_s": 25.0,
             "time_ratio": 1.0, "time_ratio_low": 1.0, "time_ratio_high": 1.0, "peak_rss_bytes": 400_000_000},
            {"name": "edgesmith onnxruntime", "median_ms": 20.0, "p90_ms": 22.0, "p99_ms": 25.0, "min_ms": 19.0, "throughput_per_s": 50.0,
             "time_ratio": 0.5, "time_ratio_low": 0.45, "time_ratio_high": 0.55, "peak_rss_bytes": 410_000_000, "max_abs": 2e-7},
        ],
    },
    "engines": [
        {"file": "engines/sm89.engine", "arch": "sm89", "builder": "tensorrt_rtx", "version": "1.7.1",
         "xray": {"kernels": 118, "fused_attention": 12, "counts": {"gemm fp16 x fp16": 50}, "device_memory_bytes": 8_700_000,
                  "recognised": 0.997, "attention": [{"kernel": "mha", "layers": ["/blocks/0"]}], "notes": ["read in 1.7"]}}
    ],
    "notes": ["random weights: the outputs mean nothing"],
    "files": {"report.html": {"bytes": 1, "sha256": "ee" * 32}, "model.onnx": {"bytes": 16_700_000, "sha256": "cd" * 32}},
}  # fmt: skip


class Reader(HTMLParser):
    """Text of the page, its tags, and whether they are closed in order."""

    VOID = ("meta", "rect", "line", "br")

    def __init__(self, html):
        super().__init__()
        self.words, self.tags, self.open, self.urls = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.urls += [value for key, value in attrs if key in ("src", "href", "action", "data", "srcset")]
        assert not any(key.startswith("on") for key, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.mark.parametrize(
    "said",
    [
        "smt_tiny", "target rtx", "1 of 2 parity checks hold", "42 → 40 nodes in the graph", "20 ms median CPU time", "0.50 time ratio to torch eager, lower is better",
        "118 kernels, 12 fused attention", "16.7 MB model.onnx", "trace 19.0 s 16.7 MB 251 nodes", "all 20.2 s",
        "rewritten 6 pictures holds 4.80e-07 0.9999999 100% 100%", "fp16 1 seeded FAILS inf", "edgesmith onnxruntime 20 22 25 19 50 0.50 (0.45 to 0.55) 410.0 MB 2.0e-07",
        "FuseGate 10 6", "6 refusals, with reasons", "read by another node 6 /stage/0/Mul", "Found nothing to do: DropIdentity", "Left out on request: MergeNorm",
        "1 nodes kept in float32, with reasons", "/head/Pow Pow overflows", "Conv 30 28 -2", "Attention 0 12 +12", "Mul 12 0 -12", "all 42 40 -2",
        "gemm fp16 x fp16 50", "99.7%", "read in 1.7", "images float32 batch x 3 x 224 x 224", "resize bicubic", "arXiv:2307.08579", "ab" * 32, "cd" * 32,
        "random weights: the outputs mean nothing", "edgesmith run smt_tiny.edge photo.jpg", "shorter is better", "Not measured: torch.compile, no compiler here", "threads 1, shape 1 x 3 x 224 x 224, cpu a chip",
    ],
)  # fmt: skip
def test_the_report_shows_what_the_manifest_says(said):
    assert said in Reader(write_report(FULL)).text


def test_it_stands_alone_and_fits_a_phone():
    html = write_report(FULL)
    page = Reader(html)
    assert not page.urls and not {"script", "link", "img", "iframe"} & set(page.tags)
    assert "url(" not in html and "@import" not in html and "http" not in html
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert "prefers-color-scheme: dark" in html
    assert page.tags.count("table") == len(re.findall(r'<div class="scroll"><table', html)), "every table can scroll"


def test_bars_are_as_long_as_the_figures_say():
    widths = [float(width) for width in re.findall(r'<rect x="0" y="\d+" width="([\d.]+)%"', write_report(FULL))]
    ends = [float(end) for end in re.findall(r'x2="([\d.]+)%"', write_report(FULL))]
    assert (
        widths[0] == pytest.approx(2 * widths[1], abs=0.02)
        and ends[0] == 100.0
        and widths[0] == pytest.approx(100 * 40 / 44, abs=0.01)
    )


def poison(value):
    if isinstance(value, dict):
        return {key: poison(item) for key, item in value.items()}
    if isinstance(value, list):
        return [poison(item) for item in value]
    return value + "<script>alert('x')</script>\"&" if isinstance(value, str) else value


def test_nothing_in_the_manifest_becomes_markup():
    html = write_report(poison(FULL), {"notes": ["<b>"], "next": ["a < b && c"]})
    page = Reader(html)
    assert "script" not in page.tags and "&lt;script&gt;" in html
    assert "<b>" in page.text and "a < b && c" in page.text


def test_the_report_does_not_claim_its_own_hash():
    assert "ee" * 32 not in write_report(FULL)


def test_a_manifest_with_nothing_in_it_still_makes_a_page():
    text = Reader(write_report({})).text
    assert "Not checked" in text and "Not measured yet" in text


def test_extras_add_stages_notes_and_commands():
    text = Reader(
        write_report(
            {"name": "m"}, {"stages": [{"name": "trace", "seconds": 2}], "notes": ["mind this"], "next": ["do that"]}
        )
    ).text
    assert "trace 2.0 s" in text and "mind this" in text and "do that" in text and "edgesmith run" not in text
