"""What people get wrong with a grounding model, through the command: one screen that says why and what to do, and nothing left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import edgesmith
from grounding_bundle import WIDE, encode, screenshot, write_grounding_bundle
from grounding_folder import write_folder
from one_screen import Case, assert_told
from small_bundle import write_small_bundle

from edgesmith.exporter.plan import checks
from edgesmith.runtime.tasks.grounding import words

FOLDER = "export --model gui_aima --screen 220x170 --out some.edge --weights "
EXPORT = FOLDER + "good "
RUN = "run colours.edge "
ASKED = "--instruction red"
SECOND = "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"

CASES = [
    # what is asked of an export
    Case("3 bits", EXPORT + "--kv-bits 3", ("--kv-bits 3", "16, 8, 4, 2")),
    Case("a scheme for floating point", EXPORT + "--kv-scheme kivi", ("--kv-scheme kivi", "--kv-bits 4")),
    Case("fp8", EXPORT + "--precision fp8", ("--precision fp8", "--precision int4")),
    Case("bf16 where the engine has none", EXPORT + "--precision bf16", ("bf16", "--target openvino")),
    Case("classes", EXPORT + "--num-classes 5", ("--num-classes 5", "there are no classes")),
    Case("names of classes", EXPORT + "--labels names.txt", ("--labels names.txt", "there are no classes")),
    Case("an image size", EXPORT + "--image-size 224", ("--image-size 224", "--screen")),
    Case("a batch", EXPORT + "--batch 4", ("--batch 4", "open in every graph")),
    Case("suppression of boxes", EXPORT + "--nms graph", ("--nms graph", "grounding")),
    Case("screen without pixels", EXPORT + "--screen 0x0", ("0x0", "width x height")),
    Case("screen below a token", EXPORT + "--screen 10x10", ("10x10", "squares of 28 pixels")),
    Case("screen of one number", EXPORT + "--screen 1280", ("--screen 1280", "--screen 1280x800")),
    Case("screen that is none", EXPORT + "--screen axb", ("--screen axb", "width x height")),
    Case("screen of minus pixels", EXPORT + "--screen=-5x5", ("-5x5", "width x height")),
    Case("8k screen", EXPORT + "--screen 7680x4320", ("33.2 million", "--screen 3840x2160")),
    Case("screen as large as a wall", EXPORT + "--screen 99999x99999", ("9999.8 million", "--screen 3124x3124")),
    Case("strip as a screen", EXPORT + "--screen 20x2000", ("20x2000", "squares of 28 pixels")),
    Case("long strip as a screen", EXPORT + "--screen 30x8000", ("30x8000", "200 times")),
    Case("screen for a detector", "export --model damo_yolo_nano_small --screen 220x170", ("--screen", "gui_aima")),
    # what stands in the folder
    Case("weights that are not downloaded", FOLDER + "pretrained", ("RESEARCH", "--weights FOLDER")),
    Case("name of a repository", FOLDER + "smz8599/GUI-AIMA-3B", ("which is not there", "download")),
    Case("one file of weights", FOLDER + "some.pth", ("some.pth, a file", "a folder with config.json")),
    Case("folder of timm", FOLDER + "timm", ("'resnet50', as timm writes it", "qwen2_5_vl")),
    Case("empty folder", FOLDER + "empty", ("config.json is missing", "an empty folder")),
    Case("pickled weights", FOLDER + "pickled", ("pytorch_model.bin", INDEX)),
    Case("Qwen2-VL", FOLDER + "qwen2", ("Qwen2-VL", "LayerNorm", "GUI-AIMA-3B")),
    Case("Qwen3-VL", FOLDER + "qwen3", ("Qwen3-VL", "patches of 16 pixels")),
    Case("the base model", FOLDER + "base", ("no anchor", "pointer_pad_token_id", "base model")),
    Case("tokenizer without the anchor", FOLDER + "anchor", ("<|pointer_pad|>", "base model")),
    Case("tokenizer missing", FOLDER + "tokenizer", ("tokenizer.json is missing", "copy or download tokenizer.json")),
    Case("tokenizer that is none", FOLDER + "empty_tokenizer", ("tokenizer.json cannot be read",)),
    Case("shard cut off", FOLDER + "cut", (SECOND, "not a whole safetensors file", "download it again")),
    Case("shard missing", FOLDER + "shard", (f"not there: {SECOND}",)),
    Case("index promising more", FOLDER + "promise", ("lacks tensors", "visual.extra")),
    Case("index naming less", FOLDER + "less", ("1 missing", "the whole folder again")),
    Case("other sections of RoPE", FOLDER + "sections", ("mrope_section [4, 4, 4]", "half of a head")),
    Case("heads that do not divide", FOLDER + "heads", ("3 heads", "whole number of values")),
    Case("heads of keys that do not divide", FOLDER + "kv_heads", ("3 of keys", "whole ratio")),
    Case("table of another size", FOLDER + "table", ("embed_tokens.weight (320, 64)", "(500, 64)")),
    Case("weights in codes", FOLDER + "codes", ("quantization_config gptq", "--precision int4")),
    Case("message with a word of the prompt", FOLDER + "message", ("<|image_pad|> in it",)),
    Case("message as long as a book", FOLDER + "book", ("tokens", "4,096")),
    Case("place that is no bundle", EXPORT + "--out good", ("is not a bundle", "--out with another name")),
    Case("place without a folder", EXPORT + "--out no/where.edge", ("no folder no", "mkdir")),
    # what is asked of a bundle
    Case("no instruction", RUN + "shot.png", ("no --instruction", "--instructions FILE")),
    Case("instruction of spaces", RUN + "shot.png --instructions spaces.txt", ("0 lines", "one instruction a line")),
    Case("file of instructions that is empty", RUN + "shot.png --instructions empty.txt", ("0 lines", "one instruction")),
    Case("file of instructions in UTF-16", RUN + "shot.png --instructions utf16.txt", ("no UTF-8", "save the file")),
    Case("file of too many", RUN + "shot.png --instructions many.txt", ("1,001 lines", "1,000")),
    Case("file that is not there", RUN + "shot.png --instructions nowhere.txt", ("nowhere.txt", "check the path")),
    Case("word that steers", RUN + "shot.png --instruction <|pointer_pad|>", ("<|pointer_pad|>", "plain words")),
    Case("instruction as long as a book", RUN + "shot.png --instructions long.txt", ("4,001 characters", "4,000")),
    Case("strip", RUN + f"strip.png {ASKED}", ("2000 x 20 pixels", "28 pixels each way")),
    Case("no size fits", RUN + f"banner.png {ASKED}", ("2000 x 60 pixels", "--screen 2000x60")),
    Case("no picture", RUN + f"notes.txt {ASKED}", ("notes.txt",)),
    Case("zoom of nothing", RUN + f"shot.png {ASKED} --zoom 0", ("no such zoom", "2 or 4")),
    Case("pool below a screen", RUN + f"shot.png {ASKED} --pool-mb 0.00001", ("a budget of", "--pool-mb 1")),
    Case("pool of nothing", RUN + f"shot.png {ASKED} --pool-mb 0", ("needs a size", "--pool-mb 512")),
    Case("score of a detector", RUN + f"shot.png {ASKED} --score 0.5", ("--score",)),
    Case("instruction for a classifier", f"run small.edge shot.png {ASKED}", ("takes no --instruction",)),
    Case("evaluation", "eval colours.edge --data good", ("there is no set of clicks", "--instructions FILE --json")),
    Case("account of few bits", "quant-report colours.edge", ("is not quantised", "--precision int4")),
    Case("account of rounded weights", "quant-report int4.edge", ("no account of its places", "report.html")),
    Case("peers for a bundle", "bench colours.edge --against plain", ("measured by itself", "--against plain")),
    Case("batch for a bundle", "bench colours.edge --batch 4", ("measured by itself", "--batch 4")),
    Case("beside a classifier", "compare colours.edge small.edge", ("colours.edge and small.edge", "two bundles")),
    Case("beside a model", "compare colours.edge gui_aima", ("colours.edge and gui_aima", "two bundles")),
    Case("two models by name", "compare gui_aima gui_aima", ("two bundles", "export --model gui_aima")),
    Case("no size in common", "compare colours.edge wide.edge", ("no size of a screen in common", "same --screen")),
    Case("bundle without its tokenizer", f"run halved.edge shot.png {ASKED}", ("tokenizer.json",)),
    Case("inspection of half a bundle", "inspect halved.edge", ("tokenizer.json",)),
    Case("test of half a bundle", "test halved.edge", ("tokenizer.json",)),
]  # fmt: skip


@dataclass
class Folders:
    """Folders of a tiny checkpoint, each with one thing wrong."""

    place: Path
    written: list[Path] = field(default_factory=list)

    def add(self, name: str, change: Callable[[Path], Any] = lambda folder: None, **words: Any) -> None:
        shutil.copytree(self.place / "good", self.place / name) if self.written else write_folder(self.place / name)
        self.written.append(self.place / name)
        change(self.place / name)
        _tell(self.place / name / "config.json", words)


def _tell(file: Path, changes: dict[str, Any]) -> None:
    """Replace words of a JSON file; those of an object inside word by word."""
    if not changes:
        return
    told = json.loads(file.read_text())
    for name, value in changes.items():
        told[name] = {**told[name], **value} if isinstance(value, dict) and name in told else value
    file.write_text(json.dumps(told))


def _index(change: Callable[[dict[str, str]], Any]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        told = json.loads((folder / INDEX).read_text())
        change(told["weight_map"])
        (folder / INDEX).write_text(json.dumps(told))

    return rewrite


def _cut(folder: Path) -> None:
    content = (folder / SECOND).read_bytes()
    (folder / SECOND).write_bytes(content[: len(content) // 2])


def _without_anchor(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_text(file.read_text().replace("<|pointer_pad|>", "<|something|>"))


def _pickled(folder: Path) -> None:
    for file in folder.glob("model*"):
        file.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bad-grounding")
    some = Folders(made)
    some.add("good")
    some.add("qwen2", model_type="qwen2_vl")
    some.add("qwen3", model_type="qwen3_vl")
    some.add("base", pointer_pad_token_id=None)
    some.add("anchor", _without_anchor)
    some.add("tokenizer", lambda one: (one / "tokenizer.json").unlink())
    some.add("empty_tokenizer", lambda one: (one / "tokenizer.json").write_text("{}"))
    some.add("cut", _cut)
    some.add("shard", lambda one: (one / SECOND).unlink())
    some.add("promise", _index(lambda named: named.update({"visual.extra": SECOND})))
    some.add("less", _index(lambda named: named.pop(next(iter(named)))))
    some.add("pickled", _pickled)
    rope = {"rope_type": "default", "mrope_section": [4, 4, 4], "rope_theta": 1e6}
    some.add("sections", text_config={"rope_parameters": rope})
    some.add("heads", text_config={"num_attention_heads": 3})
    some.add("kv_heads", text_config={"num_key_value_heads": 3})
    some.add("table", text_config={"vocab_size": 500})
    some.add("codes", quantization_config={"quant_method": "gptq"})
    some.add("message", grounding_message="Look at <|image_pad|> and click.")
    some.add("book", grounding_message="q1 " * 3_000)
    (made / "empty").mkdir()
    (made / "timm").mkdir()
    (made / "timm" / "config.json").write_text('{"architecture": "resnet50", "num_classes": 1000}')
    (made / "some.pth").write_bytes(b"\x80\x04.")
    _instructions(made)
    _pictures(made)
    _bundles(made)
    return made


def _instructions(made: Path) -> None:
    (made / "empty.txt").write_bytes(b"")
    (made / "spaces.txt").write_text("  \n\t\n")
    (made / "utf16.txt").write_bytes("red\n".encode("utf-16"))
    (made / "many.txt").write_text("red\n" * 1_001)
    (made / "long.txt").write_text("r" * 4_001)
    (made / "notes.txt").write_text("no picture")


def _pictures(made: Path) -> None:
    cv2.imwrite(str(made / "shot.png"), screenshot(WIDE, red=(5, 1)))
    cv2.imwrite(str(made / "strip.png"), np.zeros((20, 2000, 3), np.uint8))
    cv2.imwrite(str(made / "banner.png"), np.zeros((60, 2000, 3), np.uint8))


def _bundles(made: Path) -> None:
    write_grounding_bundle(made / "colours.edge")
    write_small_bundle(made / "small.edge")
    write_grounding_bundle(made / "wide.edge", sizes=((280, 140),))
    write_grounding_bundle(made / "int4.edge", change=lambda manifest: manifest.update(precision="int4"))
    shutil.copytree(made / "colours.edge", made / "halved.edge")
    (made / "halved.edge" / "tokenizer.json").unlink()


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "encoder", lambda data: (encode, ()))


def test_there_are_at_least_twenty_five():
    assert len(CASES) >= 25 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_mistake_is_told_in_one_screen(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    assert_told(case, folder)


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_instruction_is_told(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    told = edgesmith("run", "colours.edge", "shot.png", "--instruction", text)
    assert told.code == 2 and "the instruction is empty" in told.err and "open the settings" in told.err
    assert not told.out and "Traceback" not in told.err


def test_an_8k_screenshot_works_and_says_what_it_loses(folder: Path, tmp_path: Path):
    large = np.full((4320, 7680, 3), 90, np.uint8)
    large[864:1728, 4800:5760] = (0, 0, 255)  # red, as OpenCV writes it
    cv2.imwrite(str(tmp_path / "8k.png"), large)
    told = edgesmith("run", str(folder / "colours.edge"), str(tmp_path / "8k.png"), "--instruction", "red")
    assert told.code == 0 and "note: 7680 x 4320 pixels are looked at as 224 x 140" in told.out


def test_a_full_disk_is_told_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    assert_told(Case("full disk", EXPORT.strip(), ("--out on another disk",)), folder)
