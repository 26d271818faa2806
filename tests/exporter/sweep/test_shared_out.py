"""``edgesmith eval --ray``: the parts, how they are joined, and that figures are those of one process, digit for digit."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from coco_patches import write_patches
from colour_folders import write_colours
from command_line import edgesmith, on_device
from detection_bundle import write_detection_bundle
from small_bundle import write_small_bundle

from edgesmith.exporter.run.several import cluster, shared_out
from edgesmith.exporter.run.several.cluster import Lost
from edgesmith.exporter.run.several.shared_out import SharedOut, cut
from edgesmith.runtime.bundle.bundle import open_bundle, write_bundle
from edgesmith.runtime.errors import EdgesmithError, UserMistake
from edgesmith.runtime.pictures.preprocess import ImageContract


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Crew:
    """Two workers in this process; jobs end last first, and travel as Ray would send them."""

    cpus = 2
    lost = -1

    def check(self, cpus, memory_mb=0):
        return self.cpus // cpus

    def each(self, function, jobs, *, cpus=1, memory_mb=0):
        import pickle

        jobs = pickle.loads(pickle.dumps(jobs))
        for number in reversed(range(len(jobs))):
            yield number, Lost("its worker was lost") if number == self.lost else function(*jobs[number])


@pytest.fixture
def crew(monkeypatch):
    from contextlib import contextmanager

    one = Crew()

    @contextmanager
    def connected(address, cpus=None):
        yield one

    monkeypatch.setattr(shared_out, "connected", connected)
    return one


@pytest.mark.parametrize(
    ("items", "batch", "parts", "sizes"),
    [
        (30, 8, 4, [8, 8, 8, 6]),
        (30, 8, 2, [16, 14]),
        (3, 8, 8, [3]),
        (16, 1, 3, [6, 6, 4]),
        (8, 8, 1, [8]),
        (0, 8, 4, []),
    ],
)
def test_parts_are_whole_batches_in_order(items, batch, parts, sizes):
    found = cut(range(items), batch, parts)
    assert [len(part) for part in found] == sizes
    assert [one for part in found for one in part] == list(range(items))


def same(*words: str) -> None:
    """With --ray as without it, but for the note on nothing."""
    alone, shared = (edgesmith("eval", *words, "--json", "--threads", "1", *more) for more in ((), ("--ray", "local")))
    assert (alone.code, shared.code) == (0, 0), alone.err + shared.err
    assert json.loads(shared.out) == json.loads(alone.out)


def test_answers_are_joined_in_the_order_of_the_pictures(tmp_path, crew):
    write_detection_bundle(tmp_path / "colours.edge", batch="batch")
    write_patches(tmp_path, count=30, missed=4, scale=2)
    same("colours.edge", "--data", "coco.json", "--images", "images")
    edgesmith("eval", "colours.edge", "--data", "coco.json", "--save", "alone.json")
    edgesmith("eval", "colours.edge", "--data", "coco.json", "--save", "shared.json", "--ray", "local")
    assert Path("shared.json").read_bytes() == Path("alone.json").read_bytes()


def test_a_classifier_is_counted_the_same(tmp_path, crew):
    write_small_bundle(tmp_path / "small.edge")
    write_colours(tmp_path / "photos", wrong=3)
    same("small.edge", "--data", "photos")


MAP = """
<ir_version: 10, opset_import: ["" : 20]>
small (float[1, 3, 8, 8] images) => (float[1, 3, 8, 8] logits)
{
  logits = Identity(images)
}
"""


def test_pixels_of_masks_are_counted_the_same(tmp_path, crew):
    """The class of a pixel is its strongest colour; a quarter of each mask says another one."""
    write_map_bundle(tmp_path / "map.edge")
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(7):
        pixels, mask = np.zeros((20, 20, 3), np.uint8), np.full((20, 20), number % 3, np.uint8)
        pixels[..., number % 3] = 200
        mask[:10, :10] = (number + 1) % 3
        cv2.imwrite(f"photos/{number}.png", pixels[..., ::-1])
        cv2.imwrite(f"masks/{number}.png", mask)
    same("map.edge", "--data", "masks", "--images", "photos")
    told = json.loads(
        edgesmith("eval", "map.edge", "--data", "masks", "--images", "photos", "--ray", "local", "--json").out
    )
    assert told["rows"][0]["pixel_accuracy"] == 75.0 and "shared out" not in str(told["notes"])


def write_map_bundle(out: Path) -> None:
    import onnx

    from edgesmith.runtime.bundle.golden import golden_bytes

    images = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    files = {
        "model.onnx": onnx.parser.parse_model(MAP).SerializeToString(),
        "labels.json": b'["red", "green", "blue"]',
        "golden.npz": golden_bytes({"images": images}, {"logits": images}),
    }
    small = open_bundle(write_small_bundle(out.with_name("small.edge"))).manifest
    contract = ImageContract(size=(8, 8), crop_fraction=1.0).to_json()  # the network sees every pixel
    own = {
        "task": "segmentation",
        "input_contract": contract,
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [1, 3, 8, 8]}],
    }
    write_bundle(out, files, {**{key: small[key] for key in small if key not in ("files", "manifest_sha256")}, **own})


def test_pytorch_beside_it_is_shared_out_too(tmp_path, crew, monkeypatch):
    import torch
    from detection_bundle import judge

    from edgesmith import models
    from edgesmith.exporter.tasks.eager import eager_once

    class Colours(torch.nn.Module):
        def forward(self, images):
            found = torch.from_numpy(judge(images.numpy()))
            return found[..., :4], found[..., 4:].flip(-1)

    monkeypatch.setattr(models, "create", lambda *words, **_: Colours())
    eager_once.cache_clear()
    write_detection_bundle(tmp_path / "colours.edge", batch="batch")
    write_patches(tmp_path, count=20)
    same("colours.edge", "--data", "coco.json", "--weights", "w.pth")


def test_a_part_that_is_lost_ends_it_with_1(tmp_path, crew):
    crew.lost = 2
    write_small_bundle(tmp_path / "small.edge")
    write_colours(tmp_path / "photos", wrong=3)
    found = edgesmith("eval", "small.edge", "--data", "photos", "--threads", "1", "--ray", "local")
    assert found.code == 1 and "A part of the evaluation was lost" in found.err


def test_a_bundle_that_was_replaced_meanwhile_is_told(tmp_path):
    from edgesmith.runtime.backends.load import load
    from edgesmith.runtime.bundle.bundle import open_bundle
    from edgesmith.runtime.tasks.parts import opened_once, source_of

    source = source_of(open_bundle(write_small_bundle(tmp_path / "small.edge")))
    (tmp_path / "small.edge").rename(tmp_path / "old.edge")
    write_small_bundle(tmp_path / "small.edge", name="another")
    with pytest.raises(UserMistake, match="different bundles"):
        opened_once(source, load, None, None)


def test_an_engine_that_chooses_its_threads_has_a_machine_for_itself(crew):
    asked = []
    crew.each = lambda function, jobs, cpus, **_: asked.append((cpus, len(jobs))) or iter(())
    from contextlib import ExitStack

    for threads in (None, 1):
        SharedOut("local", threads, ExitStack())(len, (), range(100), 1, "it", None)
    assert asked == [(2, 4), (1, 8)]


def test_what_is_not_shared_out_is_said(tmp_path, crew, monkeypatch):
    from edgesmith.exporter.tasks.classification.task import ClassificationExport

    write_small_bundle(tmp_path / "small.edge")
    answer = {"task": "classification", "data": "photos", "notes": [], "rows": []}
    monkeypatch.setattr(ClassificationExport, "evaluate", lambda *_: answer)
    told = json.loads(edgesmith("eval", "small.edge", "--data", "photos", "--ray", "local", "--json").out)
    assert told["notes"] == ["nothing was shared out by --ray local: classification is judged in one process"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "no address of a Ray cluster"),
        ("ray://here:1", "no address of a Ray cluster"),
        ("here:port", "no address of a Ray cluster"),
        ("127.0.0.1:99999", "no address of a Ray cluster"),
        ("127.0.0.1:1", "No Ray cluster answers"),
    ],
)
def test_an_address_of_nobody_is_told_at_once(tmp_path, address, said):
    pytest.importorskip("ray")
    write_small_bundle(tmp_path / "small.edge")
    write_colours(tmp_path / "photos", wrong=0)
    found = edgesmith("eval", "small.edge", "--data", "photos", "--ray", address)
    assert found.code == 2 and said in found.err and "--ray local" in found.err


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(UserMistake, match="extra named ray") as caught, cluster.connected("local"):
        pass
    assert "edgesmith[ray]" in caught.value.attempt


def test_a_device_has_no_clusters():
    found = on_device("eval", "small.edge", "--data", "photos", "--ray", "local")
    assert found.code == 2 and "eval --ray is an option of the workstation" in found.err


def test_an_error_on_a_worker_is_what_it_would_be_here():
    wrong = UserMistake("it cannot", found="a", expected="b", because="c", attempt="d")
    import pickle

    def refuse():
        raise wrong

    answer = cluster._answer(refuse, (), cluster.__version__)
    travelled = pickle.loads(pickle.dumps(answer))
    assert isinstance(travelled, UserMistake) and str(travelled) == str(wrong) and travelled.attempt == "d"
    assert "another edgesmith" in cluster._answer(refuse, (), "0.0").what


class Nodes:
    """Of Ray only what tells of its machines."""

    def __init__(self, *resources):
        self.resources = resources

    def nodes(self):
        return [{"Alive": True, "Resources": one} for one in self.resources]


def test_a_job_that_no_machine_has_room_for_is_refused():
    crew = cluster.Crew(Nodes({"CPU": 4.0, "memory": 8e9}, {"CPU": 2.0, "memory": 3e9}, {"GPU": 1.0}))
    assert crew.cpus == 2
    assert (crew.check(1), crew.check(1, 3000), crew.check(3)) == (6, 3, 1)
    with pytest.raises(EdgesmithError, match="room for one job") as caught:
        crew.check(1, 9000)
    assert "4 CPUs and 8000 MB" in caught.value.found
    with pytest.raises(EdgesmithError, match="room for one job"):
        crew.check(5)
