"""What a bundle's manifest says of grounding, ``"grounding": {...}``: vetted at the door, and read once as frozen values.

template   ids before the picture, ids after the instruction, and the special ones; texts that no instruction may hold
buckets    sizes, and the graphs of each
kv         how keys and values are stored; ``bias_left_out``: the graph adds the rotated bias of the keys back
rope       theta and the sections of the axes, for the tables of the places before the instruction
threshold  of the largest score, from which on a patch belongs to a region
vocabulary ids that the embedding table has; may be absent
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...report.kinds import FLAG, LONG_TEXT, TEXT, Check, Wrong, fields, listed, number, whole
from ...report.kinds import refuse as refuse_wrong
from ..described import Described
from .buckets import Bucket
from .resize import MULTIPLE
from .screens.kv_bytes import KIVI, ROTATEKV, SCHEMES

KEY = "grounding"
INSTRUCTION = "instruction"  # the graph that all buckets share
MOST_TEXT_TOKENS = 4_096
MOST_TOKENS = 65_536  # of one picture
ID = whole(0, 2**31 - 1)
SIDE = whole(1, 16_384)
IDS = listed(ID)
TEMPLATE = ("before", "after", "vision_end", "pointer_start", "pointer_pad")
BUCKET = ("screen", "size", "grid", "vision", "prefix")
KV_BITS = (32, 16, 8, 4, 2)
OWN = ("tokens", "lengths", "start", "prefix_cos", "prefix_sin")  # of the instruction graph; the rest is stored
STORED = ("float32", "float16", "int32")
TOKENS_AXIS = {"keys": (5, 3), "key_codes": (5, 3), "key_slot": (3, 2)}  # axes of stored ones, and that of the tokens


def _pair(value: Any) -> Wrong | None:
    if not isinstance(value, list) or len(value) != 2:
        return Wrong("", value, "a list of two")
    return listed(SIDE)(value)


def _bits(value: Any) -> Wrong | None:
    right = type(value) is int and value in KV_BITS
    return None if right else Wrong("", value, "one of " + ", ".join(map(str, KV_BITS)))


def _scheme(value: Any) -> Wrong | None:
    return None if value is None or value in SCHEMES else Wrong("", value, "one of " + ", ".join(SCHEMES))


TOLD: Check = fields(
    {
        KEY: fields(
            {
                "template": fields(
                    {"before": IDS, "after": IDS, "vision_end": ID, "pointer_start": ID, "pointer_pad": ID,
                     "image_pad": ID, "stop_words": listed(TEXT)},
                    needed=TEMPLATE,
                ),
                "buckets": listed(
                    fields({"screen": _pair, "size": _pair, "grid": _pair, "vision": TEXT, "prefix": TEXT}, needed=BUCKET)
                ),
                "weighting": TEXT,
                "threshold": number(0.0, 0.999),
                "kv": fields({"bits": _bits, "scheme": _scheme, "bias_left_out": FLAG}, needed=("bits",)),
                "rope": fields({"theta": number(1.0, 1e12), "sections": listed(whole(1, 1_024))}),
                "vocabulary": whole(1, 2**31 - 1),
                "tokenizer": TEXT,
                "licence_note": LONG_TEXT,
                **dict.fromkeys(("layers", "kv_heads", "head_dim", "hidden"), whole(1, 2**20)),
            },
            needed=("template", "buckets", "kv", "threshold"),
        )
    },
    needed=(KEY,),
)  # fmt: skip


@dataclass(frozen=True)
class Template:
    """The prompt without the picture and the instruction, as ids."""

    before: tuple[int, ...]  # up to and with <|vision_start|>
    after: tuple[int, ...]  # behind the instruction, up to <|pointer_start|>
    vision_end: int
    pointer_start: int
    pointer_pad: int  # the anchor, which is asked where it looks
    stop_words: tuple[str, ...]

    @property
    def extra(self) -> int:
        """Tokens of a prompt behind the picture beside those of the instruction."""
        return len(self.after) + 3


@dataclass(frozen=True)
class Facts:
    """The values that the runtime computes with."""

    template: Template
    buckets: tuple[Bucket, ...]
    threshold: float
    kv_bits: int
    kv_scheme: str
    bias_left_out: bool
    theta: float
    sections: tuple[int, ...]
    vocabulary: int | None
    tokenizer: str


def facts_of(bundle: Described) -> Facts:
    """The facts of a bundle that was checked."""
    told: Mapping[str, Any] = bundle.manifest[KEY]
    template, rope = told["template"], told.get("rope") or {}
    return Facts(
        Template(
            tuple(template["before"]),
            tuple(template["after"]),
            template["vision_end"],
            template["pointer_start"],
            template["pointer_pad"],
            tuple(template.get("stop_words") or ()),
        ),
        tuple(_bucket(row) for row in told["buckets"]),
        float(told["threshold"]),
        told["kv"]["bits"],
        told["kv"].get("scheme") or KIVI,
        bool(told["kv"].get("bias_left_out")),
        float(rope.get("theta") or 1e6),
        tuple(rope.get("sections") or ()),
        told.get("vocabulary"),
        told.get("tokenizer") or "tokenizer.json",
    )


def _bucket(row: Mapping[str, Any]) -> Bucket:
    (width, height), size, grid = row["screen"], row["size"], row["grid"]
    return Bucket((width, height), (size[0], size[1]), (grid[0], grid[1]), row["vision"], row["prefix"])


def check(bundle: Described) -> None:
    """BundleRefused for the first thing in a manifest that is of another kind, out of bounds, or at odds with the graphs."""
    refuse_wrong(bundle.path, TOLD(bundle.manifest))
    wrong = _at_odds(facts_of(bundle), bundle)
    refuse_wrong(bundle.path, wrong and wrong.inside(KEY))


def _at_odds(facts: Facts, bundle: Described) -> Wrong | None:
    """What the manifest says of grounding beside what it says of its graphs."""
    template, graphs = facts.template, bundle.graphs
    if not 1 <= len(template.before) <= MOST_TEXT_TOKENS or len(template.after) > MOST_TEXT_TOKENS:
        return Wrong("template", len(template.before), f"1 to {MOST_TEXT_TOKENS:,} ids before the picture")
    ids = (*template.before, *template.after, template.vision_end, template.pointer_start, template.pointer_pad)
    if facts.vocabulary is not None and max(ids) >= facts.vocabulary:
        return Wrong("template", max(ids), f"ids below {facts.vocabulary:,}")
    if not facts.buckets:
        return Wrong("buckets", [], "one size or more")
    if facts.tokenizer not in bundle.manifest["files"]:
        return Wrong("tokenizer", facts.tokenizer, "a file of the bundle")
    if INSTRUCTION not in graphs:
        return Wrong("", list(graphs), f"a graph {INSTRUCTION}")
    asked = {spec.name: spec for spec in graphs[INSTRUCTION].inputs}
    if facts.bias_left_out != ("prefix_cos" in asked):
        return Wrong("kv.bias_left_out", facts.bias_left_out, f"true where the graph {INSTRUCTION} takes prefix_cos")
    if facts.bias_left_out and (len(facts.sections) != 3 or asked["prefix_cos"].shape[-1] != 2 * sum(facts.sections)):
        return Wrong("rope.sections", list(facts.sections), "three numbers, together half of what prefix_cos is wide")
    if missing := set(OWN[:3]) - set(asked):
        return Wrong("", sorted(asked), f"a graph {INSTRUCTION} that takes " + ", ".join(sorted(missing)))
    if ["scores"] != (found := [spec.name for spec in graphs[INSTRUCTION].outputs]):
        return Wrong("", found, f"a graph {INSTRUCTION} that gives scores")
    stored = {name: spec for name, spec in asked.items() if name not in OWN}
    if (facts.kv_scheme == ROTATEKV) != ("key_slot" in stored):
        return Wrong("kv.scheme", facts.kv_scheme, f"{ROTATEKV} where the graph {INSTRUCTION} takes key_slot")
    for at, bucket in enumerate(facts.buckets):
        prefix = len(template.before) + bucket.tokens
        if (wrong := _bucket_at_odds(bucket, graphs, stored, prefix)) is not None:
            return wrong.inside(f"buckets[{at}]")
    return None


def _bucket_at_odds(bucket: Bucket, graphs: Mapping[str, Any], stored: Mapping[str, Any], prefix: int) -> Wrong | None:
    if any(side != MULTIPLE * count for side, count in zip(bucket.size, bucket.grid, strict=True)):
        return Wrong("size", list(bucket.size), f"{MULTIPLE} times the grid, {list(bucket.grid)}")
    if bucket.tokens > MOST_TOKENS:
        return Wrong("grid", list(bucket.grid), f"at most {MOST_TOKENS:,} visual tokens")
    for name in (bucket.vision, bucket.prefix):
        if name not in graphs:
            return Wrong("vision" if name == bucket.vision else "prefix", name, "one of " + ", ".join(graphs))
    pixels = [(spec.name, spec.shape[1:]) for spec in graphs[bucket.vision].inputs]
    if pixels != [("pixels", (3, *bucket.size))]:
        return Wrong("size", str(pixels)[:80], f"the graph {bucket.vision} to take pixels of this size")
    if (handed := {spec.name for spec in graphs[bucket.vision].outputs}) != {
        s.name for s in graphs[bucket.prefix].inputs
    }:
        return Wrong("prefix", bucket.prefix, "a graph that takes what vision gives: " + ", ".join(sorted(handed)))
    given = {spec.name: spec for spec in graphs[bucket.prefix].outputs}
    if set(given) != set(stored):
        return Wrong("prefix", sorted(given), "what the instruction graph reads: " + ", ".join(sorted(stored)))
    for name, spec in given.items():
        alike = len(spec.shape) == len(stored[name].shape) and spec.dtype == stored[name].dtype
        if not alike or spec.dtype not in STORED or not all(isinstance(size, int) for size in spec.shape[1:]):
            told = f"{name} {spec.dtype} ({', '.join(map(str, spec.shape))})"
            return Wrong("prefix", told, "numbers of a fixed size a screen, as the instruction graph reads them")
        axes, axis = TOKENS_AXIS.get(name, (len(spec.shape), None))
        if len(spec.shape) != axes or (axis is not None and spec.shape[axis] != prefix):
            return Wrong(
                "prefix", list(spec.shape), f"{name} of {prefix:,} tokens: the text before the picture, and it"
            )
    return None
