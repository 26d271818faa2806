"""No value of a manifest that the runtime uses can change without a word, and none is used that cannot be."""

import hashlib
import json
import random
import shutil
import tracemalloc
from pathlib import Path

import pytest
from sealed import edit_manifest

from edgesmith.runtime.bundle.bundle import open_bundle, update_bundle, write_bundle
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.pictures.contract import ImageContract

OLD = Path(__file__).parents[1] / "data" / "bundles"


def manifest_of(bundle):
    return json.loads((bundle.path / "manifest.json").read_text())


def test_the_hash_is_that_of_all_other_values_in_their_order(tiny):
    told = manifest_of(tiny)
    written = told.pop("manifest_sha256")
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    assert told["schema"] == 2 and written == hashlib.sha256(text.encode()).hexdigest()


def test_white_space_may_change(tiny):
    path = tiny.path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert open_bundle(tiny.path).name == "tiny"


def places(value, path=()):
    """The path of every value inside that has none inside itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [place for key, inner in items for place in places(inner, (*path, key))]
    return found or [path]


def changed(value, rng):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return rng.choice([value + 1, -value - 1, value * 2 + 0.5, 0.25, 10**9])
    return rng.choice([None, 0, "x", [], {}, f"{value}x"])


def with_a_change(text: bytes, rng: random.Random) -> bytes:
    """One bit, one value, one key less, or two values in each other's place."""
    kind = rng.randrange(4)
    if kind == 0:
        data = bytearray(text)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(data)
    told = json.loads(text)
    if kind == 1:
        del told[rng.choice(list(told))]
        return json.dumps(told).encode()
    if kind == 2:
        keys = list(told)
        one, other = rng.sample(keys, 2)
        told[one], told[other] = told[other], told[one]
        return json.dumps(told).encode()
    *path, last = rng.choice(places(told))
    inside = told
    for key in path:
        inside = inside[key]
    inside[last] = changed(inside[last], rng)
    return json.dumps(told).encode()


@pytest.mark.parametrize("seed", range(4))
def test_no_changed_value_is_accepted(tiny, seed):
    """500 seeded changes a seed; what is accepted has the same values, in the same order."""
    path = tiny.path / "manifest.json"
    text, rng = path.read_bytes(), random.Random(seed)
    whole, refused = list(json.loads(text).items()), 0
    for _ in range(500):
        path.write_bytes(with_a_change(text, rng))
        try:
            open_bundle(tiny.path)
        except BundleRefused:
            refused += 1
        else:
            assert list(json.loads(path.read_bytes()).items()) == whole
    assert refused > 300


def test_a_hash_is_needed_from_schema_2_and_held_to_in_schema_1_too(tiny):
    path = tiny.path / "manifest.json"
    told = manifest_of(tiny)
    for change in ({"schema": 1}, {"manifest_sha256": None}, {"manifest_sha256": "0" * 64}, {"name": "other"}):
        path.write_text(json.dumps({**told, **change}))
        with pytest.raises(BundleRefused, match="is not what was written"):
            open_bundle(tiny.path)
    del told["manifest_sha256"]
    path.write_text(json.dumps(told))
    with pytest.raises(BundleRefused, match="is not what was written"):
        open_bundle(tiny.path)


@pytest.mark.parametrize("name", ["classifier_fp32", "classifier_int8", "detector_int8"])
def test_a_bundle_of_0_1_0_opens_and_has_a_hash_once_it_is_written_again(name, tmp_path):
    shutil.copytree(OLD / name, tmp_path / name)
    old = open_bundle(tmp_path / name)
    assert old.manifest["schema"] == 1 and "manifest_sha256" not in old.manifest
    new = update_bundle(old, {"notes.txt": b"x"})
    assert new.manifest["schema"] == 2 and len(manifest_of(new)["manifest_sha256"]) == 64
    changes = ("schema", "manifest_sha256", "files")
    assert {**new.manifest, **{key: 0 for key in changes}} == {**old.manifest, **{key: 0 for key in changes}}


def test_what_is_written_again_from_an_opened_bundle_gets_its_own_hash(tiny, tmp_path):
    files = {name: tiny.path / name for name in tiny.manifest["files"]}
    other = write_bundle(tmp_path / "b.edge", files, {**tiny.manifest, "name": "other"})
    assert open_bundle(other.path).name == "other"
    assert other.manifest["manifest_sha256"] != tiny.manifest["manifest_sha256"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"name": "tiny"', '"name": "tiny", "name": "tiny"', "'name' stands there twice"),
        ('"scale": ', '"scale": NaN, "x": ', "NaN is no JSON"),
        ('"scale": ', '"scale": -Infinity, "x": ', "-Infinity is no JSON"),
        ('"scale": ', '"scale": 1e999, "x": ', "not JSON compliant"),
        ('"schema": 2', '"schema": ' + "2" * 30, "a whole number of 30 digits"),
        ('"schema": 2', '"schema": ' + "2" * 5000, "a whole number of 5000 digits"),
        ('"name": "tiny"', '"name": "tiny\\ud800"', "surrogates not allowed"),
        ('"name": "tiny"', '"name": ' + "[" * 40 + "]" * 40, "nested more than 32 deep"),
        ('"name": "tiny"', '"name": ' + "[" * 900 + "]" * 900, "nested more than 32 deep"),
        ('"name": "tiny"', '"name": ' + "[" * 100_000, "no JSON"),
        ("{", "\ufeff{", "BOM"),
    ],
)
def test_what_parsers_read_differently_is_refused_in_words(tiny, old, new, said):
    path = tiny.path / "manifest.json"
    path.write_text(path.read_text().replace(old, new, 1), encoding="utf-8")
    with pytest.raises(BundleRefused, match=f"manifest.json cannot be read(.|\n)*{said}"):
        open_bundle(tiny.path)


BILLION = 10**9
IMAGE = {"name": "images", "dtype": "float32", "shape": [1, 3, 8, 8]}
OPEN = {"name": "images", "dtype": "float32", "shape": ["batch", 3, 8, 8]}


@pytest.mark.parametrize(
    "spec",
    [
        {**IMAGE, "dtype": "float31"},
        {**IMAGE, "dtype": ["float32"]},
        {**IMAGE, "dtype": "object"},
        {**IMAGE, "shape": [1, 3, BILLION, 8]},
        {**IMAGE, "shape": [BILLION]},
        {**IMAGE, "shape": [65536, 65536]},
        {**IMAGE, "shape": [1] * 17},
        {**IMAGE, "shape": [1.0, 3, 8, 8]},
        {**IMAGE, "shape": [True, 3, 8, 8]},
        {**IMAGE, "shape": ["", 3, 8, 8]},
        {**IMAGE, "shape": {"1": 1}},
        {**IMAGE, "max": [1, 3, 8, 9]},
        {**IMAGE, "min": [0, 3, 8, 8]},
        {**OPEN, "min": [0, 3, 8, 8]},
        {**OPEN, "max": [BILLION, 3, 8, 8]},
        {**OPEN, "min": [2, 3, 8, 8], "opt": [1, 3, 8, 8], "max": [4, 3, 8, 8]},
        {**OPEN, "min": [1, 3, 8, 8], "opt": [5, 3, 8, 8], "max": [4, 3, 8, 8]},
        {**OPEN, "min": [5, 3, 8, 8], "max": [4, 3, 8, 8]},
        {**OPEN, "max": [4, 3, 8]},
        {**OPEN, "max": 4},
    ],
)
def test_a_tensor_that_cannot_be_is_refused_before_anything_is_made_of_it(tiny, spec):
    edit_manifest(tiny.path, inputs=[spec])
    tracemalloc.start()
    try:
        with pytest.raises(BundleRefused, match="a tensor that cannot be"):
            open_bundle(tiny.path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


CONTRACT = [
    ("size", [8]), ("size", [8, 0]), ("size", [8, BILLION]), ("size", [16384, 16384]), ("size", [8.0, 8.0]), ("size", 8),
    ("size", "88"), ("size", [True, True]), ("resize", "bicubik"), ("resize", []), ("antialias", 1), ("antialias", "false"),
    ("crop_fraction", 0), ("crop_fraction", 1e-9), ("crop_fraction", 1.5), ("crop_fraction", "1"), ("fit", "cro"),
    ("mean", [0, 0]), ("mean", [0, 0, "0"]), ("mean", [0, 0, True]), ("mean", [0, 0, 1e30]), ("mean", 0.5),
    ("std", [1, 1]), ("std", [1, 1, 0]), ("std", [1, 1, -1]), ("std", [1, 1, 1e-40]), ("std", [1, 1, 1e40]),
    ("scale", 0), ("scale", -1), ("scale", True), ("scale", "1"), ("scale", 1e300), ("colour", "RGR"), ("channels", 4),
    ("channels", 3.0), ("anchor", "corner"), ("anchor", "middle"), ("gamma", 2.2), ("scale", None),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), CONTRACT)
def test_an_input_contract_that_cannot_be_is_refused_when_the_bundle_is_opened(tiny, field, value):
    edit_manifest(tiny.path, lambda manifest: manifest["input_contract"].update({field: value}))
    with pytest.raises(BundleRefused, match=f"is damaged(.|\n)*{field}"):
        open_bundle(tiny.path)


@pytest.mark.parametrize("field", ["mean", "std", "scale", "crop_fraction"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_contract_holds_finite_numbers(field, value):
    values = (value,) * 3 if field in ("mean", "std") else value
    with pytest.raises(UserMistake, match=f"{field} is not usable"):
        ImageContract((8, 8), **{field: values})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": 3}, "name: int"),
        ({"name": "x" * 1001}, "name: "),
        ({"labels": ["a"]}, "labels: "),
        ({"engine": {}}, "engine: "),
        ({"num_classes": -1}, "num_classes: -1"),
        ({"num_classes": "4"}, "num_classes: '4'"),
        ({"num_classes": BILLION}, "num_classes: "),
        ({"precision_report": []}, "precision_report: "),
        ({"precision_report": {"golden_cosine": "1"}}, "golden_cosine: '1'"),
        ({"precision_report": {"golden_cosine": -5}}, "golden_cosine: -5"),
        ({"precision_report": {"golden_detections": [1]}}, "golden_detections: "),
        ({"precision_report": {"golden_detections": {"matched": -400}}}, "golden_detections.matched: -400"),
        ({"precision_report": {"golden_detections": {"cosine": "1"}}}, "golden_detections.cosine: '1'"),
        ({"input_contract": [1]}, "input_contract: "),
        ({"rewrite": "none"}, "rewrite: 'none'"),
        ({"benchmark": []}, "benchmark: "),
        ({"quantisation": 1}, "quantisation: 1"),
        ({"notes": "none"}, "notes: 'none'"),
        ({"notes": [None]}, r"notes\[0\]: None"),
        ({"parity": {}}, "parity: "),
    ],
)
def test_values_of_the_wrong_kind_are_refused(tiny, change, said):
    edit_manifest(tiny.path, **change)
    with pytest.raises(BundleRefused, match=said):
        open_bundle(tiny.path)


def test_half_a_character_is_written_as_a_question_mark(make_tiny):
    assert make_tiny(weights={"source": "caf\udce9.pt"}).manifest["weights"] == {"source": "caf?.pt"}
