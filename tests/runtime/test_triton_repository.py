"""``edgesmith triton`` writes a model repository: what stands in it, for every task and target, whole or not at all."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import on_device
from detection_bundle import write_detection_bundle
from grounding_bundle import write_grounding_bundle
from small_bundle import write_small_bundle
from triton_bundles import write_arrays, write_bundles

from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.bundle.manifest import TensorSpec
from edgesmith.runtime.commands.triton import place
from edgesmith.runtime.commands.triton.config import CONFIG, Word, most_in_a_batch, quoted, text_of
from edgesmith.runtime.commands.triton.exchange import answered, check_numpy
from edgesmith.runtime.errors import UserMistake


def triton(*words: object) -> tuple[int, str, str]:
    done = on_device("triton", *map(str, words))
    return done.code, done.out, done.err


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_text_of_a_config():
    fields = {
        "name": 'a "b"\n',
        "dims": [1, -1],
        "kind": Word("KIND_CPU"),
        "inside": {"yes": True},
        "rows": [{"n": 1}, {}],
    }
    assert text_of(fields, "above\nit").splitlines() == [
        "# above", "# it", 'name: "a \\042b\\042\\012"', "dims: [1, -1]", "kind: KIND_CPU", "inside {", "  yes: true", "}",
        "rows {", "  n: 1", "}", "rows { }",
    ]  # fmt: skip
    assert quoted("ä\\") == '"\\303\\244\\134"'
    with pytest.raises(UserMistake, match="cannot be written"):
        quoted("\ud800")


@pytest.mark.parametrize(
    ("first", "bounds", "second", "most"),
    [
        ("batch", None, "batch", 8),
        ("batch", ([1, 3], [4, 3]), "batch", 4),
        ("batch", ([1, 3], [64, 3]), "batch", 8),
        ("batch", ([2, 3], [4, 3]), "batch", 0),  # the server may send one alone
        ("batch", None, "boxes", 0),
        ("batch", None, 4, 0),
        (1, None, 1, 0),
    ],
)
def test_a_batch_is_an_open_first_axis_of_all(first: Any, bounds: Any, second: Any, most: int):
    low, high = bounds or (None, None)
    taken = TensorSpec("x", "float32", (first, 3), low and tuple(low), low and tuple(low), high and tuple(high))
    assert most_in_a_batch([taken], [TensorSpec("y", "float32", (second, 5))], 8) == most


def test_a_scalar_has_no_batch():
    assert most_in_a_batch([TensorSpec("x", "float32", ())], [TensorSpec("y", "float32", ("n",))], 8) == 0


def test_an_ensemble_and_its_three_steps(tmp_path: Path):
    bundle = write_detection_bundle(tmp_path / "boxes.edge", batch="batch")
    code, said, _ = triton(bundle, "--out", tmp_path / "repo", "--max-batch", 6, "--instances", 2, "--wait-us", 70)
    assert code == 0 and "boxes_engine  onnxruntime, batches of" in said
    found = files(tmp_path / "repo")
    assert [name for name in found if not name.startswith("boxes_")] == [
        "boxes/1/README",
        f"boxes/{CONFIG}",
        "edgesmith.json",
    ]
    assert [name for name in found if name.startswith("boxes_answer")] == [
        "boxes_answer/1/bundle.edge/labels.json", "boxes_answer/1/bundle.edge/manifest.json", "boxes_answer/1/model.py",
        f"boxes_answer/{CONFIG}",
    ]  # fmt: skip
    assert [name for name in found if name.startswith("boxes_engine")] == [
        "boxes_engine/1/model.onnx", f"boxes_engine/{CONFIG}", "boxes_engine/warmup/golden_0",
    ]  # fmt: skip
    engine = (tmp_path / "repo/boxes_engine" / CONFIG).read_text()
    for line in ("count: 2", "max_queue_delay_microseconds: 70", 'backend: "onnxruntime"', "dims: [3, 32, 32]"):
        assert line in engine
    golden = open_bundle(bundle).golden.inputs["images"][0]
    assert (tmp_path / "repo/boxes_engine/warmup/golden_0").read_bytes() == golden.tobytes()
    assert (tmp_path / "repo/boxes_engine/1/model.onnx").read_bytes() == (bundle / "model.onnx").read_bytes()


def test_the_whole_bundle_in_the_python_backend(tmp_path: Path):
    made = [*write_bundles(tmp_path), write_grounding_bundle(tmp_path / "screens.edge")]
    code, said, _ = triton(*made, "--out", tmp_path / "repo", "--backend", "python", "--json")
    rows = {row["name"]: row for row in json.loads(said)["models"]}
    assert code == 0 and sorted(rows) == ["arrays", "boxes", "features", "masks", "screens", "small"]
    assert {row["backend"] for row in rows.values()} == {"python"}
    assert rows["screens"]["inputs"] == ["IMAGE", "INSTRUCTION"] and rows["screens"]["max_batch_size"] == 0
    assert rows["boxes"]["outputs"] == ["JSON", "num_detections", "boxes", "scores", "classes"]
    assert rows["arrays"]["inputs"] == ["images"] and rows["arrays"]["outputs"] == ["logits"]
    for bundle in made:  # copied whole, and still a bundle
        assert (
            open_bundle(tmp_path / "repo" / bundle.stem / "1" / "bundle.edge").manifest == open_bundle(bundle).manifest
        )
    assert not [
        path
        for path in (tmp_path / "repo").rglob("*")
        if path.is_symlink() or path.stat().st_nlink > 1 and path.is_file()
    ]


def test_arrays_are_the_engine_alone(tmp_path: Path):
    code, said, _ = triton(write_arrays(tmp_path / "arrays.edge"), "--out", tmp_path / "repo", "--json")
    assert code == 0 and [row["name"] for row in json.loads(said)["models"]] == ["arrays"]
    assert "dims: [1, 3, 8, 8]" in (tmp_path / "repo/arrays" / CONFIG).read_text()


@pytest.mark.parametrize(
    ("target", "backend", "file"), [("openvino", "openvino", "model.onnx"), ("tensorrt", "tensorrt", "model.plan")]
)
def test_the_backend_is_that_of_the_target(tmp_path: Path, target: str, backend: str, file: str):
    bundle = write_detection_bundle(tmp_path / "boxes.edge", batch="batch", target=target)
    code, said, _ = triton(bundle, "--out", tmp_path / "repo")
    config = (tmp_path / "repo/boxes_engine" / CONFIG).read_text()
    assert code == 0 and f'backend: "{backend}"' in config and f'default_model_filename: "{file}"' in config
    built = "trtexec --onnx=boxes_engine/1/model.onnx --saveEngine=boxes_engine/1/model.plan --stronglyTyped --minShapes=images:1x3x32x32"
    assert (built in said) is (built in config) is (file == "model.plan")
    assert ("KIND_GPU" in config) is (file == "model.plan")


def test_what_no_backend_of_triton_runs_is_refused_in_words(tmp_path: Path):
    for bundle, why in (
        (write_small_bundle(tmp_path / "rtx.edge", target="rtx"), "target rtx"),
        (write_grounding_bundle(tmp_path / "screens.edge"), "graphs that are run in turn"),
    ):
        code, _, said = triton(bundle, "--out", tmp_path / "repo")
        assert code == 2 and why in said and "--backend python" in said
    assert not (tmp_path / "repo").exists()


def test_two_bundles_of_one_name_and_a_name_that_is_none(tmp_path: Path):
    (tmp_path / "other").mkdir()
    one, other = write_small_bundle(tmp_path / "a.edge"), write_small_bundle(tmp_path / "other" / "A.edge")
    code, _, said = triton(one, other, "--out", tmp_path / "repo")
    assert code == 2 and "the same name" in said
    code, _, said = triton(write_small_bundle(tmp_path / "a b.edge"), "--out", tmp_path / "repo")
    assert code == 2 and "rename the folder" in said
    assert not (tmp_path / "repo").exists()


def test_a_place_that_is_taken_is_left_alone(tmp_path: Path):
    bundle, repo = write_small_bundle(tmp_path / "small.edge"), tmp_path / "repo"
    assert triton(bundle, "--out", repo)[0] == 0
    (repo / "small_engine/1/model.plan").write_text("of the user")
    code, _, said = triton(bundle, "--out", repo)
    assert code == 2 and "--force" in said and (repo / "small_engine/1/model.plan").exists()
    assert triton(bundle, "--out", repo, "--backend", "python", "--force")[0] == 0
    assert files(repo) == [
        "edgesmith.json", *sorted(f"small/1/bundle.edge/{name}" for name in files(bundle)), "small/1/model.py", f"small/{CONFIG}",
    ]  # fmt: skip
    (repo / "mine").mkdir()
    code, _, said = triton(bundle, "--out", repo, "--force")
    assert code == 2 and "mine, which edgesmith triton did not write" in said
    (tmp_path / "file").write_text("")
    assert triton(bundle, "--out", tmp_path / "file", "--force")[0] == 2
    assert triton(bundle, "--out", bundle / "repo")[0] == 2


def test_a_disk_that_is_full_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bundle, repo = write_small_bundle(tmp_path / "small.edge"), tmp_path / "repo"
    assert triton(bundle, "--out", repo)[0] == 0
    before, real = files(repo), place._put

    def full(path: Path, content: bytes | Path) -> None:
        if path.name == "model.py":
            raise OSError(28, os.strerror(28), str(path))
        real(path, content)

    monkeypatch.setattr(place, "_put", full)
    code, _, said = triton(bundle, "--out", repo, "--backend", "python", "--force")
    assert code == 2 and "cannot write the repository repo" in said
    assert files(repo) == before and sorted(os.listdir(tmp_path)) == ["repo", "small.edge"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to write"),
        (("a.edge",), "no place to write to"),
        (("--check", "r", "--out", "s"), "writes none"),
        (("a.edge", "--out", "r", "--url", "127.0.0.1:8000"), "--url belongs to --check"),
        (("a.edge", "--out", "r", "--allow-older"), "older than what"),
        (("--check", "r", "--keyring", "k", "--allow-older"), "takes no bundle"),
        (("a.edge", "--out", "r", "--backend", "onnx"), "there is no such backend"),
        (("a.edge", "--out", "r", "--max-batch", "0"), "--max-batch is a number from 1"),
        (("a.edge", "--out", "r"), "cannot open the bundle"),
    ],
)
def test_words_that_mean_nothing(words: tuple[str, ...], said: str):
    code, _, error = triton(*words)
    assert code == 2 and said in error


def stub(hands_out: Any) -> ModuleType:
    """The module of the server's python backend, as far as we use it."""

    class Tensor:
        def __init__(self, name: str, array: np.ndarray) -> None:
            self.called, self.array = name, array

        def name(self) -> str:
            return self.called

        def as_numpy(self) -> np.ndarray:
            return self.array

        def to_dlpack(self) -> np.ndarray:
            return np.asarray(hands_out(self.array))

        @staticmethod
        def from_dlpack(name: str, array: np.ndarray) -> Any:
            return Tensor(name, array)

    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.TritonError = Tensor, str
    module.InferenceResponse = lambda output_tensors=(), error=None: SimpleNamespace(
        tensors=output_tensors, error=error
    )
    return module  # type: ignore[no-any-return]


def test_a_backend_that_is_older_than_numpy_2_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stub(lambda array: array))
    check_numpy()
    monkeypatch.setitem(
        sys.modules, "triton_python_backend_utils", stub(lambda array: np.full_like(array, array.flat[0]))
    )
    with pytest.raises(UserMistake, match=r"\[0.0, 1.0, 2.0\] became \[0.0, 0.0, 0.0\]"):
        check_numpy()


def test_what_is_not_asked_for_is_not_sent_and_a_bug_is_an_error_of_one_request(monkeypatch: pytest.MonkeyPatch):
    pb: Any = stub(lambda array: array)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", pb)
    one = pb.Tensor("X", np.ones(2))
    request = SimpleNamespace(inputs=lambda: [one], requested_output_names=lambda: ["Y"])
    response = answered(request, lambda given: {"Y": given["X"] * 2, "Z": given["X"]})
    assert [(tensor.name(), tensor.as_numpy().tolist()) for tensor in response.tensors] == [("Y", [2.0, 2.0])]
    assert "a bug in edgesmith" in answered(request, lambda given: {"Y": given["nothing"]}).error


def test_a_signature_travels_with_the_bundle_and_its_parts_and_a_keyring_is_asked_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("cryptography")
    from edgesmith.runtime.bundle.trust.keyring import new_key, read_keyring, read_signer
    from edgesmith.runtime.bundle.trust.signature import sign, signed_by
    from edgesmith.runtime.commands.triton.served import described

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    bundle, repo = open_bundle(write_small_bundle(tmp_path / "small.edge")), tmp_path / "repo"
    for name in ("maker", "other"):
        new_key(tmp_path / f"{name}.key")
    words = (bundle.path, "--out", repo, "--force")
    code, _, said = triton(*words, "--keyring", tmp_path / "maker.pub")
    assert code == 2 and "is not signed" in said and not repo.exists()
    sign(bundle.path, bundle.manifest, read_signer(tmp_path / "maker.key"), 5)
    code, _, said = triton(*words, "--keyring", tmp_path / "other.pub")
    assert code == 2 and "not in the keyring" in said and not repo.exists()
    keys = read_keyring(tmp_path / "maker.pub")
    for backend, places in (("engine", ("small_prepare", "small_answer")), ("python", ("small",))):
        assert triton(*words, "--keyring", tmp_path / "maker.pub", "--backend", backend)[0] == 0
        for model in places:
            copy = repo / model / "1" / "bundle.edge"
            assert signed_by(copy, described(copy).manifest, keys)[0].counter == 5
    open_bundle(repo / "small/1/bundle.edge")
    sign(bundle.path, bundle.manifest, read_signer(tmp_path / "maker.key"), 4)
    code, _, said = triton(*words, "--keyring", tmp_path / "maker.pub")
    assert code == 2 and "--allow-older" in said
    assert triton(*words, "--keyring", tmp_path / "maker.pub", "--allow-older")[0] == 0
