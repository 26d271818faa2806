"""The rules all backends share: what fits, what is refused in words, pictures in, classes out, the self-test."""

import cv2
import numpy as np
import pytest

import edgesmith
from edgesmith.runtime.backends.load import load
from edgesmith.runtime.bundle.golden import golden_bytes
from edgesmith.runtime.errors import BundleRefused, EdgesmithError, UserMistake


@pytest.fixture
def colours(tmp_path):
    """red.png, green.png, blue.png, dark.png of different sizes."""
    paths = []
    for index, name in enumerate(("red", "green", "blue", "dark")):
        image = np.zeros((20 + index, 30, 3), np.uint8)
        if index < 3:
            image[:, :, 2 - index] = 255  # OpenCV writes BGR
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
        paths.append(tmp_path / f"{name}.png")
    return paths


@pytest.mark.parametrize("batch", [1, 3, "batch"])
def test_pictures_become_classes_with_probabilities(make_tiny, colours, batch):
    with edgesmith.load(make_tiny(batch).path) as session:
        assert [session(path).best.label for path in colours[:3]] == ["red", "green", "blue"]
        answers = session(colours)  # four pictures: more than a fixed batch of three takes at once
        assert [answer.best.label for answer in answers[:3]] == ["red", "green", "blue"]
        assert [guess.label for guess in answers[0].top(2)] == ["red", "dark"]
        assert answers[3].top()[0].probability == pytest.approx(0.25)
        stack = np.zeros((2, 8, 8, 3), np.uint8)
        stack[1, :, :, 1] = 255
        assert session(stack)[1].best.label == "green" and session(list(stack))[1].best.label == "green"
        assert session([]) == []
        assert "red" in str(session(colours[0])) and answers[0].infer_ms > 0 and answers[0].preprocess_ms > 0


def test_pictures_of_pil_are_taken_alone_and_in_lists(tiny, colours):
    from PIL import Image

    opened = [Image.open(path) for path in colours[:2]]
    with load(tiny) as session:
        assert session(opened[1]).best.label == "green"
        assert [answer.best.label for answer in session([*opened, colours[2]])] == ["red", "green", "blue"]


def test_run_takes_and_gives_arrays_by_name(tiny):
    images = np.random.default_rng(1).standard_normal((1, 3, 8, 8), dtype=np.float32)
    with load(tiny, threads=1) as session:
        logits = session.run({"images": images})["logits"]
        np.testing.assert_allclose(
            logits, images.mean(axis=(2, 3)) @ [[4, -2, -2, 0], [-2, 4, -2, 0], [-2, -2, 4, 0]], atol=1e-6
        )
        strided = np.asfortranarray(images)
        np.testing.assert_array_equal(session.run({"images": strided})["logits"], logits)


GOOD = np.zeros((1, 3, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        ({}, "'images' is missing"),
        ({"x": GOOD}, "'images' is missing"),
        ({"images": GOOD, "mask": GOOD}, "no input 'mask'"),
        ({"images": GOOD.astype(np.float64)}, "wrong type.*\n.*float64.*\n.*float32"),
        ({"images": GOOD[0]}, "wrong rank.*\n.*3 axes.*\n.*\n.*adds the batch"),
        ({"images": np.zeros((5, 3, 8, 8), np.float32)}, "batch is 5.*\n.*batch 1 to 4"),
        ({"images": np.zeros((0, 3, 8, 8), np.float32)}, "batch is 0"),
        ({"images": np.zeros((1, 3, 9, 8), np.float32)}, "axis 2 is 9.*\n.*axis 2 8"),
        ({"images": GOOD.tolist()}, "no numpy array"),
        (GOOD, "by name"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(make_tiny, feeds, said):
    with load(make_tiny("batch")) as session, pytest.raises(UserMistake, match=said) as caught:
        session.run(feeds)
    assert caught.value.exit_code == 2


def test_open_sizes_of_one_name_must_agree():
    from edgesmith.runtime.bundle.manifest import TensorSpec
    from edgesmith.runtime.session.checks import check_feeds

    specs = [TensorSpec("a", "float32", ("batch", 2)), TensorSpec("b", "float32", ("batch", 3))]
    zeros = np.zeros
    assert list(check_feeds({"b": zeros((4, 3), np.float32), "a": zeros((4, 2), np.float32)}, specs)) == ["a", "b"]
    with pytest.raises(UserMistake, match="disagree on batch"):
        check_feeds({"a": zeros((4, 2), np.float32), "b": zeros((5, 3), np.float32)}, specs)


def test_the_self_test_passes_and_fails_for_the_right_reason(make_tiny):
    for batch in (1, 3, "batch"):
        with load(make_tiny(batch)) as session:
            (row,) = session.self_test()
            assert row.passed and row.output == "logits" and row.max_abs < 1e-6 and row.top1 == 1.0
    images = np.ones((2, 3, 8, 8), np.float32)
    wrong = golden_bytes({"images": images}, {"logits": np.array([[0, 0, 0, 1], [0.0, 0, 0, 0]], np.float32)})
    with load(make_tiny("batch", files={"golden.npz": wrong})) as session:
        (row,) = session.self_test()
        assert not row.passed and row.max_abs == pytest.approx(1.0) and row.top1 == 0.5


@pytest.mark.parametrize(
    ("precision", "off", "passes"),
    [("fp32", 1e-3, False), ("fp16", 1e-3, True), ("fp16", 0.1, False), ("bf16", 0.02, True)],
)
def test_the_limit_follows_the_precision(precision, off, passes):
    from edgesmith.runtime.tasks.selftest import agreement

    expected = np.array([[1.0, 0.0]], np.float32)
    assert agreement("y", expected, expected + np.array([[0, off]], np.float32), precision).passed is passes


def test_a_result_that_is_no_number_fails_the_self_test():
    from edgesmith.runtime.tasks.selftest import agreement

    assert not agreement("y", np.zeros((1, 2)), np.array([[0, np.nan]]), "fp32").passed
    assert not agreement("y", np.zeros((1, 2)), np.zeros((1, 3)), "fp32").passed


def test_a_closed_session_says_so(tiny):
    with load(tiny) as session:
        pass
    session.close()
    for use in (lambda: session.run({"images": GOOD}), lambda: session("x.png"), session.self_test):
        with pytest.raises(UserMistake, match="closed"):
            use()


def test_choices_that_do_not_exist_are_refused_in_words(tiny, make_tiny):
    for arguments, said in (
        ({"backend": "tflite"}, "no backend 'tflite'"),
        ({"threads": 0}, "threads"),
        ({"threads": True}, "threads"),
        ({"precision": "bf16"}, "no such option"),
        ({"backend": "openvino", "precision": "int3"}, "no precision 'int3'"),
    ):
        with pytest.raises(UserMistake, match=said):
            load(tiny, **arguments)
    with pytest.raises(UserMistake, match="target this version does not know"):
        load(make_tiny(target="abacus"))


def test_a_bundle_of_another_task_does_not_classify(make_tiny):
    with (
        load(make_tiny(task="posing")) as session,
        pytest.raises(UserMistake, match="does not classify or detect"),
    ):
        session(np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize("thing", [None, 3, [None], {"a": 1}, [3.0]])
def test_things_that_are_no_pictures(tiny, thing):
    with load(tiny) as session, pytest.raises(UserMistake, match="not a picture"):
        session(thing)


def test_labels_that_do_not_fit_the_logits(make_tiny):
    with (
        load(make_tiny(files={"labels.json": b'["one"]'})) as session,
        pytest.raises(UserMistake, match="do not fit the labels"),
    ):
        session(np.zeros((8, 8, 3), np.uint8)).top()


def test_a_graph_that_is_not_the_one_promised(make_tiny):
    bundle = make_tiny(outputs=[{"name": "boxes", "dtype": "float32", "shape": [1, 4]}])
    with load(bundle) as session, pytest.raises(EdgesmithError, match="did not return 'boxes'"):
        session.run({"images": GOOD})


def test_a_damaged_bundle_does_not_load(tiny):
    tiny.graph.write_bytes(tiny.graph.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleRefused, match="damaged"):
        load(tiny.path)
