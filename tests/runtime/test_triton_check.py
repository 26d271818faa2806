"""``edgesmith triton --check`` without a server: every slip in a repository is told with its file, and its line where it has one."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import on_device
from detection_bundle import write_detection_bundle
from small_bundle import write_small_bundle
from triton_bundles import write_bundles

from edgesmith.runtime.commands.triton.config import CONFIG

NEEDED = "tritonclient is not in this environment: make test-triton has one"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ensembles of every task that has one, an engine alone, and a model that needs its plan."""
    pytest.importorskip("tritonclient", reason=NEEDED)
    folder = tmp_path_factory.mktemp("bundles")
    repo = tmp_path_factory.mktemp("repository") / "repo"
    done = on_device("triton", *map(str, write_bundles(folder)), "--out", str(repo))
    assert done.code == 0, done.err
    return repo


@pytest.fixture
def repo(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "repo"))


def checked(repo: Path) -> tuple[int, list[str]]:
    """The exit code, and a line a fault."""
    done = on_device("triton", "--check", str(repo), "--json")
    assert not done.err
    return done.code, [fault["text"] for fault in json.loads(done.out)["faults"]]


def changed(path: Path, old: str, new: str, count: int = 1) -> int:
    """Edit a file; the number of the line."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))
    return text[: text.index(old)].count("\n") + 1


def test_what_was_written_holds(repo: Path):
    assert checked(repo) == (0, [])
    done = on_device("triton", "--check", str(repo))
    assert done.code == 0 and done.out == "17 models, no fault\n"


@pytest.mark.parametrize("target", ["openvino", "tensorrt"])
def test_configs_of_other_targets_are_read(tmp_path: Path, target: str):
    pytest.importorskip("tritonclient", reason=NEEDED)
    bundle = write_detection_bundle(tmp_path / "boxes.edge", batch="batch", nms="graph", target=target)
    assert on_device("triton", str(bundle), "--out", str(tmp_path / "repo")).code == 0
    code, faults = checked(tmp_path / "repo")
    if target == "openvino":
        assert (code, faults) == (0, [])
    else:
        (fault,) = faults
        assert code == 1 and fault.startswith("boxes_engine/1/model.plan: is not there; build it: trtexec --onnx=")


ON_LINE = {  # what stands on the line that is told
    "a field": "max_batch_sise: 0", "a type": "TYPE_FLOAT", "the name": '"other"', "choices": '"choices"', "a step": '"small_answers"',
    "an input": 'key: "image"', "a tensor": '"out.logits"', "a type between steps": '"out.logits"',
    "dims between steps": '"out.logits"', "batches": '"masks_engine"',
}  # fmt: skip
SLIPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a field": (
        lambda repo: changed(repo / "small_engine" / CONFIG, "max_batch_size", "max_batch_sise"),
        f'small_engine/{CONFIG}:LINE: is no ModelConfig: Message type "inference.ModelConfig" has no field named "max_batch_sise".',
    ),
    "a type": (
        lambda repo: changed(repo / "small_engine" / CONFIG, "TYPE_FP32", "TYPE_FLOAT"),
        f"small_engine/{CONFIG}:LINE: is no ModelConfig: '  data_type: TYPE_FLOAT': Enum type",
    ),
    "the name": (
        lambda repo: changed(repo / "small_engine" / CONFIG, '"small_engine"', '"other"'),
        f"small_engine/{CONFIG}:LINE: is called other, and its folder small_engine",
    ),
    "the name of the file": (
        lambda repo: (repo / "small_engine" / CONFIG).rename(repo / "small_engine" / "config.pbtx"),
        f"small_engine/{CONFIG}: is not there; config.pbtx is",
    ),
    "no version": (
        lambda repo: (repo / "small_engine/1").rename(repo / "small_engine/v1"),
        "small_engine/: has no folder of a version",
    ),
    "no graph": (
        lambda repo: (repo / "small_engine/1/model.onnx").unlink(),
        "small_engine/1/model.onnx: is not there; the backend onnxruntime loads it",
    ),
    "no program": (
        lambda repo: (repo / "small_answer/1/model.py").unlink(),
        "small_answer/1/model.py: is not there; the backend python loads it",
    ),
    "warm-up": (
        lambda repo: (repo / "small_engine/warmup/golden_0").write_bytes(b"1234"),
        "small_engine/warmup/golden_0: has 4 bytes, and its dims say 768",
    ),
    "labels": (
        lambda repo: (repo / "small_answer/1/bundle.edge/labels.json").write_text('["red", "green", "bleu"]'),
        "small_answer/1/bundle.edge: ",
    ),
    "choices": (
        lambda repo: changed(repo / "small_answer" / CONFIG, 'string_value: "{}"', 'string_value: "{score}"'),
        f"small_answer/{CONFIG}:LINE: choices are no JSON object",
    ),
    "a step": (
        lambda repo: changed(repo / "small" / CONFIG, '"small_answer"', '"small_answers"'),
        f"small/{CONFIG}:LINE: has a step small_answers, which is no other model of this repository",
    ),
    "an input": (
        lambda repo: changed(repo / "small" / CONFIG, 'key: "images"\n      value: "in.images"\n    }\n    output_map {\n      key: "log', 'key: "image"\n      value: "in.images"\n    }\n    output_map {\n      key: "log'),
        f"small/{CONFIG}:LINE: feeds small_engine an input image that it does not have; it has images",
    ),
    "a tensor": (
        lambda repo: changed(repo / "small" / CONFIG, 'value: "out.logits"', 'value: "out.logit"'),
        f"small/{CONFIG}:LINE: small_answer takes out.logits, which no step gives",
    ),
    "a type between steps": (
        lambda repo: changed(repo / "small_answer" / CONFIG, "TYPE_FP32", "TYPE_FP16"),
        f"small/{CONFIG}:LINE: out.logits: small_engine gives TYPE_FP32, and small_answer takes TYPE_FP16",
    ),
    "dims between steps": (
        lambda repo: changed(repo / "small_engine" / CONFIG, "dims: [1, 3]", "dims: [1, 4]"),
        f"small/{CONFIG}:LINE: out.logits: small_engine gives dims [1, 4], and small_answer takes [1, 3]",
    ),
    "batches": (
        lambda repo: changed(repo / "masks_engine" / CONFIG, "max_batch_size: 4", "max_batch_size: 2"),
        f"masks/{CONFIG}:LINE: takes batches of 4, and its step masks_engine of 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_told_with_its_place(repo: Path, slip: str):
    make, said = SLIPS[slip]
    make(repo)
    code, faults = checked(repo)
    found = [fault for fault in faults if re.sub(r":\d+: ", ":LINE: ", fault, count=1).startswith(said)]
    assert code == 1 and found, faults
    if slip in ON_LINE:
        file, line = re.match(r"([\w/.]+):(\d+): ", found[0]).groups()  # type: ignore[union-attr]
        assert ON_LINE[slip] in (repo / file).read_text().splitlines()[int(line) - 1]


def test_a_bundle_that_was_damaged_on_its_way(tmp_path: Path):
    pytest.importorskip("tritonclient", reason=NEEDED)
    bundle = write_small_bundle(tmp_path / "small.edge")
    assert on_device("triton", str(bundle), "--out", str(tmp_path / "repo"), "--backend", "python").code == 0
    (tmp_path / "repo/small/1/bundle.edge/golden.npz").write_bytes(b"nothing")
    code, faults = checked(tmp_path / "repo")
    assert code == 1 and "small/1/bundle.edge: " in faults[0] and "golden.npz has 7 bytes" in faults[0]


def test_a_graph_that_is_not_that_of_its_bundle(repo: Path):
    graph = repo / "boxes_engine/1/model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    assert checked(repo) == (1, ["boxes_engine/1/model.onnx: is not the file of the bundle in boxes_answer"])


def test_a_keyring_is_asked_about_every_bundle_of_a_repository(tmp_path: Path):
    pytest.importorskip("tritonclient", reason=NEEDED)
    pytest.importorskip("cryptography")
    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.bundle.trust.keyring import new_key, read_signer
    from edgesmith.runtime.bundle.trust.signature import sign

    new_key(tmp_path / "maker.key")
    signed, plain = write_small_bundle(tmp_path / "signed.edge"), write_small_bundle(tmp_path / "plain.edge")
    bundle = open_bundle(signed)
    sign(bundle.path, bundle.manifest, read_signer(tmp_path / "maker.key"), 5)
    assert on_device("triton", str(signed), str(plain), "--out", str(tmp_path / "repo")).code == 0
    assert checked(tmp_path / "repo") == (0, [])
    done = on_device("triton", "--check", str(tmp_path / "repo"), "--keyring", str(tmp_path / "maker.pub"), "--json")
    faults = [fault["text"] for fault in json.loads(done.out)["faults"]]
    assert done.code == 1 and len(faults) == 2 and all("is not signed" in one for one in faults)
    assert {one.split("/")[0] for one in faults} == {"plain_answer", "plain_prepare"}


def test_no_repository_there_is_a_mistake(tmp_path: Path):
    pytest.importorskip("tritonclient", reason=NEEDED)
    for place in (tmp_path / "nothing", tmp_path):
        done = on_device("triton", "--check", str(place))
        assert done.code == 2 and "repository" in done.err


def test_without_tritonclient_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "tritonclient.grpc.model_config_pb2", None)
    done = on_device("triton", "--check", str(tmp_path))
    assert done.code == 2 and "pip install 'edgesmith[triton]'" in done.err
