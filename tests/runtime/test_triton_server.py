"""A real Triton server loads what ``edgesmith triton`` writes, and answers as ``edgesmith run``: ``make test-triton``.

``TRITON_REQUESTS`` is the number of pictures that are sent over each of HTTP and gRPC.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from command_line import on_device
from grounding_bundle import screenshot, write_grounding_bundle
from triton_bundles import write_bundles, write_pictures
from triton_server import Addresses, serving, wheel

from edgesmith.runtime.commands.triton.config import CONFIG
from edgesmith.runtime.commands.triton.models import BUNDLE, MODEL_PY
from edgesmith.runtime.ground.version import __version__

pytestmark = [
    pytest.mark.slow,
    # of gevent and grpc, which tritonclient brings
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip
COUNT = int(os.environ.get("TRITON_REQUESTS", "48"))
PROTOCOLS = ("http", "grpc")


@dataclass(frozen=True)
class Served:
    """A server, the bundles of its models, and the client of each protocol with its module."""

    at: Addresses
    bundles: Path
    repository: Path
    clients: dict[str, tuple[Any, Any]]

    def ask(self, how: str, model: str, images: Sequence[bytes], lead: bool = True) -> Any:
        """The result of one request, waited for."""
        module, client = self.clients[how]
        return client.infer(model, [self.image(module, images, lead)])

    @staticmethod
    def image(module: Any, images: Sequence[bytes], lead: bool = True) -> Any:
        shape = [len(images), 1] if lead else [1]
        given = module.InferInput("IMAGE", shape, "BYTES")
        given.set_data_from_numpy(np.array(list(images), object).reshape(shape))
        return given


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_pictures(tmp_path_factory.mktemp("pictures") / "all", COUNT)


def _serve(folder: Path, repository: Path, bundles: Path) -> Iterator[Served]:
    from tritonclient import grpc, http

    with serving(repository, folder) as at:
        clients = {
            "http": (http, http.InferenceServerClient(at.http, concurrency=4, network_timeout=300.0)),
            "grpc": (grpc, grpc.InferenceServerClient(at.grpc)),
        }
        yield Served(at, bundles, repository, clients)
        for _, client in clients.values():
            client.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Every task in the python backend; beside them a config with a slip of the pen, and an ensemble of a model that is not there."""
    wheel()
    folder = tmp_path_factory.mktemp("whole")
    made = [*write_bundles(folder), write_grounding_bundle(folder / "screens.edge")]
    out = folder / "repository"
    done = on_device("triton", *map(str, made), "--out", str(out), "--backend", "python", "--threads", "1")
    assert done.code == 0, done.err
    misspelt = out / "misspelt"
    shutil.copytree(out / "small", misspelt)
    text = (misspelt / CONFIG).read_text().replace('"small"', '"misspelt"')
    (misspelt / CONFIG).write_text(text.replace("max_batch_size", "max_batch_sise"))
    lonely = out / "lonely"
    (lonely / "1").mkdir(parents=True)
    io = '{ name: "IMAGE" data_type: TYPE_STRING dims: [1] }'
    step = 'model_name: "nobody" model_version: -1 input_map { key: "IMAGE" value: "IMAGE" } output_map { key: "O" value: "IMAGE2" }'
    (lonely / CONFIG).write_text(
        f'platform: "ensemble"\ninput {io}\noutput {io.replace("IMAGE", "IMAGE2")}\nensemble_scheduling {{ step {{\n{step}\n}} }}\n'
    )
    yield from _serve(tmp_path_factory.mktemp("server"), out, folder)


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Ensembles, whose engines are played by our runtime in the python backend: the wheel has no other backend."""
    wheel()
    folder = tmp_path_factory.mktemp("apart")
    made = [path for path in write_bundles(folder) if path.stem in ("small", "boxes", "masks")]
    out = folder / "repository"
    done = on_device("triton", *map(str, made), "--out", str(out), "--threads", "1")
    assert done.code == 0, done.err
    for path in made:
        engine = out / f"{path.stem}_engine"
        text = (engine / CONFIG).read_text()
        assert 'backend: "onnxruntime"' in text
        text = text.replace('backend: "onnxruntime"', 'backend: "python"').replace(
            'default_model_filename: "model.onnx"', ""
        )
        (engine / CONFIG).write_text(text)
        (engine / "1" / "model.py").write_text(MODEL_PY.format(version=__version__, name="Graph"))
        shutil.copytree(path, engine / "1" / BUNDLE)
    yield from _serve(tmp_path_factory.mktemp("server"), out, folder)


def by_run(bundle: Path, pictures: Sequence[Path], *more: str) -> list[dict[str, Any]]:
    """What ``edgesmith run --json`` says of each picture, without its name."""
    done = on_device("run", str(bundle), *map(str, pictures), "--json", *more)
    assert done.code == 0, done.err
    return [{key: value for key, value in entry.items() if key != "image"} for entry in json.loads(done.out)]


def answers(result: Any) -> list[dict[str, Any]]:
    return [json.loads(text) for text in result.as_numpy("JSON").reshape(-1)]


def asked_in_batches(served: Served, how: str, model: str, pictures: Sequence[Path], most: int) -> list[dict[str, Any]]:
    """Requests of 1 to ``most`` pictures, four on their way at a time, so that the server makes batches of them."""
    from concurrent.futures import ThreadPoolExecutor

    starts, at = [], 0
    while at < len(pictures):
        starts.append((at, min(len(starts) % most + 1, len(pictures) - at)))
        at += starts[-1][1]
    data = [path.read_bytes() for path in pictures]
    module, client = served.clients[how]
    inputs = [[served.image(module, data[start : start + count])] for start, count in starts]
    found: list[dict[str, Any]] = []
    if how == "grpc":  # its client may be asked from several threads
        with ThreadPoolExecutor(4) as several:
            for result in several.map(lambda given: client.infer(model, given), inputs):
                found += answers(result)
        return found
    for first in range(0, len(inputs), 4):
        for waiting in [client.async_infer(model, given) for given in inputs[first : first + 4]]:
            found += answers(waiting.get_result())
    return found


@pytest.mark.parametrize("how", PROTOCOLS)
@pytest.mark.parametrize("model", ["small", "boxes", "masks", "features"])
def test_batches_are_answered_as_run_does(whole: Served, pictures: list[Path], model: str, how: str):
    some = pictures if model == "small" else pictures[:24]
    assert asked_in_batches(whole, how, model, some, 8) == by_run(whole.bundles / f"{model}.edge", some)


@pytest.mark.parametrize("how", PROTOCOLS)
@pytest.mark.parametrize("model", ["boxes", "masks"])
def test_an_ensemble_answers_as_run_does(apart: Served, pictures: list[Path], model: str, how: str):
    most = 4
    assert asked_in_batches(apart, how, model, pictures[:24], most) == by_run(
        apart.bundles / f"{model}.edge", pictures[:24]
    )


@pytest.mark.parametrize("how", PROTOCOLS)
def test_an_ensemble_of_a_graph_for_one_picture_takes_one(apart: Served, pictures: list[Path], how: str):
    found = [answers(apart.ask(how, "small", [path.read_bytes()], lead=False))[0] for path in pictures[:8]]
    assert found == by_run(apart.bundles / "small.edge", pictures[:8])


@pytest.mark.parametrize("how", PROTOCOLS)
def test_arrays_of_an_answer_are_those_of_the_json(whole: Served, pictures: list[Path], how: str):
    boxes = whole.ask(how, "boxes", [path.read_bytes() for path in pictures[:5]])
    for row, told in enumerate(answers(boxes)):
        count = boxes.as_numpy("num_detections")[row, 0]
        assert count == len(told["detections"])
        assert boxes.as_numpy("boxes")[row, :count].tolist() == [one["box"] for one in told["detections"]]
        assert boxes.as_numpy("scores")[row, :count].tolist() == [one["score"] for one in told["detections"]]
        assert (boxes.as_numpy("classes")[row, count:] == -1).all()
    masks = whole.ask(how, "masks", [path.read_bytes() for path in pictures[:3]])
    for file, told in zip(masks.as_numpy("mask").reshape(-1), answers(masks), strict=True):
        classes = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED)
        assert list(classes.shape) == told["size"]
        assert {one["index"]: one["share"] for one in told["classes"]} == {
            int(index): float((classes == index).mean()) for index in np.unique(classes)
        }
    (told,) = answers(one := whole.ask(how, "features", [pictures[0].read_bytes()]))
    assert float(one.as_numpy("features").max()) == told["max"] and list(one.as_numpy("features").shape) == [1, 3]


@pytest.mark.parametrize("how", PROTOCOLS)
def test_a_graph_for_arrays_gives_what_its_session_gives(whole: Served, how: str):
    from edgesmith.runtime.backends.load import load

    module, client = whole.clients[how]
    images = np.random.default_rng(3).random((1, 3, 8, 8), dtype=np.float32)
    given = module.InferInput("images", [1, 3, 8, 8], "FP32")
    given.set_data_from_numpy(images)
    with load(whole.bundles / "arrays.edge") as session:
        expected = session.run({"images": images})["logits"]
    assert np.array_equal(client.infer("arrays", [given]).as_numpy("logits"), expected)


@pytest.mark.parametrize("how", PROTOCOLS)
def test_a_screen_and_instructions(whole: Served, tmp_path: Path, how: str):
    cv2.imwrite(str(tmp_path / "screen.png"), screenshot(red=(1, 1), blue=(2, 1))[:, :, ::-1])
    words = ["click the red button", "blue"]
    module, client = whole.clients[how]
    asked = module.InferInput("INSTRUCTION", [2], "BYTES")
    asked.set_data_from_numpy(np.array([one.encode() for one in words], object))
    image = whole.image(module, [(tmp_path / "screen.png").read_bytes()], lead=False)
    result = client.infer("screens", [image, asked])
    more = [word for one in words for word in ("--instruction", one)]
    (expected,) = by_run(whole.bundles / "screens.edge", [tmp_path / "screen.png"], *more)
    assert answers(result) == [expected]
    assert result.as_numpy("pixels").tolist() == [click["pixels"] for click in expected["clicks"]]


@pytest.mark.parametrize("how", PROTOCOLS)
@pytest.mark.parametrize("which", ["whole", "apart"])
def test_a_request_that_cannot_be_read_fails_alone(
    request: pytest.FixtureRequest, pictures: list[Path], which: str, how: str
):
    """All are on their way at once, so they come into batches together."""
    from concurrent.futures import ThreadPoolExecutor

    from tritonclient.utils import InferenceServerException

    served: Served = request.getfixturevalue(which)
    sent = [path.read_bytes() for path in pictures[:9]]
    sent[4] = sent[4][: len(sent[4]) // 2]  # cut off
    module, client = served.clients[how]

    def outcome(wait: Callable[[], Any]) -> Any:
        try:
            return answers(wait())[0]
        except InferenceServerException as error:
            return str(error)

    inputs = [[served.image(module, [data])] for data in sent]
    if how == "grpc":
        with ThreadPoolExecutor(9) as several:
            found = list(several.map(lambda given: outcome(lambda: client.infer("boxes", given)), inputs))
    else:
        found = [outcome(waiting.get_result) for waiting in [client.async_infer("boxes", given) for given in inputs]]
    assert "the picture that was sent is cut off" in found.pop(4)
    good = [path for number, path in enumerate(pictures[:9]) if number != 4]
    assert found == by_run(served.bundles / "boxes.edge", good)
    with pytest.raises(InferenceServerException, match="picture 1 of the request, counted from 0"):
        served.ask(how, "boxes", [sent[0], b"no picture", sent[1]])


def test_the_server_says_ready_and_the_check_names_what_is_not(whole: Served):
    _, client = whole.clients["http"]
    assert client.is_server_ready()
    done = on_device("triton", "--check", str(whole.repository), "--url", whole.at.http)
    assert done.code == 1
    lines = done.out.splitlines()
    number = (whole.repository / "misspelt" / CONFIG).read_text().splitlines().index("max_batch_sise: 8") + 1
    assert any(f"misspelt/{CONFIG}:{number}: is no ModelConfig" in line and "max_batch_sise" in line for line in lines)
    assert any(f"lonely/{CONFIG}:5: has a step nobody" in line for line in lines)
    assert any("misspelt: is not ready on the server" in line for line in lines)
    assert any("lonely: is not ready on the server" in line for line in lines)
    assert "says ready; 6 of 8 models are" in done.out
    assert len([line for line in lines if "is not ready" in line]) == 2


def test_a_repository_as_it_was_written_has_no_fault_and_is_ready(apart: Served):
    done = on_device("triton", "--check", str(apart.repository), "--url", apart.at.http)
    assert done.code == 0, done.out
    assert done.out.endswith("12 models, no fault\n")


def test_nobody_at_the_url_is_a_mistake(whole: Served):
    done = on_device("triton", "--check", str(whole.repository), "--url", "127.0.0.1:9")
    assert done.code == 2 and "the server cannot be asked" in done.err
