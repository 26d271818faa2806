"""``edgesmith eval --data`` with something else than it needs: words about an evaluation, on workstation and device."""

import numpy as np
import pytest
from command_line import edgesmith, on_device
from detection_bundle import write_detection_bundle
from small_bundle import write_small_bundle

OTHERS = {  # for classifiers, for detectors
    "x.npz": ("x.npz: arrays", "x.npz, arrays"),
    "x.npy": ("x.npy: arrays", "x.npy, arrays"),
    "x.zip": ("unpack", "unpack"),
    "x.yaml": ("a .yaml file", "no YOLO set"),
    "x.csv": ("a .csv file", "annotations of another format"),
    "x.xml": ("a .xml file", "annotations of another format"),
    "folder": ("there are no pictures in folder", "--images folder"),
    "gone": ("nothing at that path", "No such file"),
    "random": ("random, which has no classes", "No such file"),
    "x.bin": ("a .bin file", "bytes that are no text"),
    "x.json": ("x.json: annotated boxes, and this bundle does not detect", "no JSON"),
    "x.txt": ("listed in x.txt are missing", "a list of pictures"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("other-data")
    write_small_bundle(made / "c.edge")
    write_detection_bundle(made / "d.edge")
    np.savez(made / "x.npz", images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(4) % 3)
    np.save(made / "x.npy", np.zeros((4, 8, 8, 3), np.uint8))
    for name in ("x.zip", "x.yaml", "x.csv", "x.xml", "x.json", "x.txt"):
        (made / name).write_text("PK here: 1\n")
    (made / "x.bin").write_bytes(b"\xe6\xff\x00")
    (made / "folder").mkdir()
    return made


@pytest.mark.parametrize("name", OTHERS)
def test_the_words_are_those_of_an_evaluation(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    of_classifiers, of_detectors = OTHERS[name]
    for answer, words in (
        (edgesmith("eval", "c.edge", "--data", name), of_classifiers),
        (edgesmith("eval", "d.edge", "--data", name), of_detectors),
        (on_device("eval", "d.edge", "--data", name), of_detectors),
    ):
        assert answer.code == 2 and answer.out == "" and words in answer.err
        assert (
            "calibrat" not in answer.err and "codec" not in answer.err and "pictures without a class" not in answer.err
        )
