"""What comes from anywhere is bounded before it is read: no pipe is waited for, no function multiplies, no archive unpacks to gigabytes."""

import os
import zipfile

import numpy as np
import onnx
import pytest
from command_line import edgesmith
from floor import workstation
from onnx import helper
from small_bundle import write_small_bundle

from edgesmith.runtime.bundle.bundle import open_bundle
from edgesmith.runtime.bundle.onnx_scan import MAX_NODES, NotOnnx, check_foreign, scan_bytes
from edgesmith.runtime.errors import BundleRefused, UserMistake
from edgesmith.runtime.ground.members import read_members
from edgesmith.runtime.ground.regular import check_regular, open_regular, read_regular
from edgesmith.runtime.pictures.video import frames


def test_a_regular_file_is_read_up_to_its_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"
    with open_regular(tmp_path / "a") as file:
        assert file.read() == b"12345"
    with pytest.raises(UserMistake, match="a is too large(.|\n)*5 bytes(.|\n)*at most 4"):
        read_regular(tmp_path / "a", 4)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "b")


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "a socket"])
def test_what_is_no_file_is_not_opened(tmp_path, kind):
    import socket

    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX) as bound:
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a device":
            path = "/dev/zero"
        elif kind == "a folder":
            path.mkdir()
        else:
            bound.bind(str(path))
        for use in (open_regular, check_regular, lambda it: read_regular(it, 10)):
            with pytest.raises(UserMistake, match=f"is no file(.|\n)*{kind}"):
                use(path)


def test_a_pipe_in_place_of_a_picture_is_called_one(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserMistake, match="a.png is no file(.|\n)*a pipe"):
        frames([tmp_path / "a.png"])


PIPES = {
    "inspect": "inspect {pipe}",
    "inspect an engine": "inspect {pipe}.engine",
    "ops": "inspect --ops {pipe}",
    "run": "run {bundle} {pipe}.png",
    "weights": "export --model vit_ggem_mnist --weights {pipe} --out {folder}/a.edge",
    "labels": "export --model vit_ggem_mnist --weights random --labels {pipe} --out {folder}/a.edge",
    "list": "export --model vit_ggem_mnist --weights random --precision int8 --data {pipe}.txt --out {folder}/a.edge",
    "arrays": "export --model vit_ggem_mnist --weights random --precision int8 --data {pipe}.npz --out {folder}/a.edge",
    "array": "export --model vit_ggem_mnist --weights random --precision int8 --data {pipe}.npy --out {folder}/a.edge",
    "annotations": "export --model damo_yolo_scenes --weights random --precision int8 --data {pipe}.json --out {folder}/a.edge",
    "compare": "compare {pipe} {bundle}",
    "quant-report": "quant-report {pipe}",
}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=name, marks=workstation if name == "quant-report" else ())
        for name, words in PIPES.items()
    ],
)
def test_no_command_waits_for_a_pipe(tmp_path, words):
    """Opening a pipe that nobody writes to waits for ever; the test ends, or it does not."""
    bundle = write_small_bundle(tmp_path / "s.edge")
    for end in ("", ".engine", ".png", ".txt", ".npz", ".npy", ".json"):
        os.mkfifo(tmp_path / f"pipe{end}")
    answer = edgesmith(*words.format(pipe=tmp_path / "pipe", bundle=bundle, folder=tmp_path).split())
    assert answer.code == 2 and "pipe" in answer.err, answer.err


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz", "labels.json", "model.onnx"])
def test_no_pipe_of_a_bundle_is_waited_for(tmp_path, name):
    bundle = write_small_bundle(tmp_path / "s.edge")
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    with pytest.raises(BundleRefused):
        open_bundle(bundle)


# zips


def zip_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_zip_is_read_within_its_limit(tmp_path):
    assert read_members(zip_of(tmp_path / "a.zip", one=b"1", two=b"22"), 3) == {"one": b"1", "two": b"22"}
    with pytest.raises(ValueError, match="3 bytes unpacked, at most 2"):
        read_members(tmp_path / "a.zip", 2)
    with pytest.raises(ValueError, match="1,001 members"):
        read_members(zip_of(tmp_path / "b.zip", **{f"m{n}": b"" for n in range(1001)}), 10)
    (tmp_path / "c.zip").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="no whole zip"):
        read_members(tmp_path / "c.zip", 100)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "C:x", ".", "..", ".x", "a\nb", "\u202ex"])
def test_a_member_s_name_is_a_file_s_name(tmp_path, name):
    with pytest.raises(ValueError, match="no plain file name"):
        read_members(zip_of(tmp_path / "a.zip", **{name: b"1"}), 10)


# functions


def with_functions(depth, calls, name=lambda n: f"F{n}"):
    """Function 0 calls function 1 ``calls`` times, and so on: calls ** depth nodes when all is written out."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    functions = []
    for n in range(depth):
        inner, domain = (name(n + 1), "own") if n + 1 < depth else ("Relu", "")
        nodes = [helper.make_node(inner, ["x"], [f"y{k}"], domain=domain) for k in range(calls)]
        functions.append(helper.make_function("own", name(n), ["x"], ["y0"], nodes, opsets))
    graph = helper.make_graph(
        [helper.make_node(name(0), ["x"], ["y"], domain="own")],
        "g",
        [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
    )
    return helper.make_model(graph, functions=functions, opset_imports=opsets).SerializeToString()


def test_functions_that_stay_small_are_accepted():
    assert scan_bytes(with_functions(1, 5)) == ()
    assert scan_bytes(with_functions(5, 10)) == ()  # 100,000
    assert 10**5 < MAX_NODES < 10**7


def test_functions_that_multiply_are_refused_without_writing_them_out():
    with pytest.raises(NotOnnx, match="multiply to more than 1,000,000 nodes"):
        scan_bytes(with_functions(7, 10))
    with pytest.raises(NotOnnx, match="multiply"):
        scan_bytes(with_functions(60, 10))


def test_functions_within_branches_are_counted_too():
    model = onnx.ModelProto.FromString(with_functions(7, 10))
    call = model.graph.node.pop()
    branch = helper.make_graph([call], "b", [], [helper.make_tensor_value_info("y", 1, [1])])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch))
    with pytest.raises(NotOnnx, match="multiply"):
        scan_bytes(model.SerializeToString())


def test_a_function_that_calls_itself_is_refused():
    with pytest.raises(NotOnnx, match="functions call each other more than"):
        scan_bytes(with_functions(3, 1, name=lambda n: f"F{n % 2}"))


@workstation
def test_a_foreign_file_is_looked_through_by_every_command(tmp_path):
    path = tmp_path / "many.onnx"
    path.write_bytes(with_functions(7, 10))
    for words in (("inspect",), ("inspect", "--ops"), ("quant-report",)):
        answer = edgesmith(*words, str(path))
        assert answer.code == 2 and "multiply to more than" in answer.err, answer.err
    answer = edgesmith("compare", str(path), str(path))
    assert answer.code == 2 and "multiply to more than" in answer.err
    with pytest.raises(UserMistake, match="is not an ONNX model"):
        check_foreign(path)


def test_labels_nested_without_end_are_refused(tmp_path):
    (tmp_path / "labels.json").write_text("[" * 100_000)
    answer = edgesmith(
        *f"export --model vit_ggem_mnist --weights random --labels {tmp_path / 'labels.json'} --out {tmp_path / 'a.edge'}".split()
    )
    assert answer.code == 2 and "The class names in" in answer.err


# engines


def test_an_engine_is_read_in_a_process_of_its_own_with_a_limit(tmp_path, monkeypatch):
    from edgesmith.exporter.engine import foreign
    from edgesmith.exporter.engine.xray import read_engine

    path = tmp_path / "x.engine"
    path.write_bytes(np.arange(1000, dtype=np.uint8).tobytes())
    assert foreign.read_foreign(path) == read_engine(path)
    with pytest.raises(UserMistake, match="still reading after"):
        foreign.read_foreign(path, limit_s=1e-3)
    with pytest.raises(UserMistake, match="is too large"):
        monkeypatch.setattr(foreign, "MOST_BYTES", 999)
        foreign.read_foreign(path)
