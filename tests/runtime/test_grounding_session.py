"""Screens that stay open: a click finds what the words ask for, one by one, in batches, across screens and threads."""

from __future__ import annotations

import numpy as np
import pytest
from floor import workstation
from grounding_bundle import SQUARE, TALL, WIDE, contract, encode, ids, scores_of, screenshot, write_grounding_bundle
from many_threads import CALLERS, all_at_once
from openvino_here import openvino_or_skip

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.pictures.preprocess import preprocess
from edgesmith.runtime.tasks.grounding import words

PLACES = {"red": (5, 1), "green": (0, 4), "blue": (7, 0)}
PICTURE = screenshot(WIDE, **PLACES)
MIDDLES = [(28 * column + 14, 28 * row + 14) for column, row in PLACES.values()]
OTHER = screenshot(WIDE, red=(1, 3), blue=(3, 2), green=(6, 0))


@pytest.fixture(autouse=True)
def _words(monkeypatch):
    """Without the library: the floor has none."""
    monkeypatch.setattr(words, "encoder", lambda data: (encode, ("<|image_pad|>",)))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_grounding_bundle(tmp_path_factory.mktemp("grounding") / "colours.edge")


@pytest.fixture
def session(place):
    with load(place) as opened:
        yield opened


def middle(column: int, row: int, size: tuple[int, int] = WIDE) -> tuple[float, float]:
    return (28 * column + 14) / size[0], (28 * row + 14) / size[1]


def test_a_click_is_told_in_shares_pixels_and_words(session):
    with session.open(PICTURE) as screen:
        click = screen.click("click the red button")
    assert click.point == pytest.approx(middle(*PLACES["red"]), abs=1e-3)
    assert all(abs(found - at) <= 1 for found, at in zip(click.pixels, (28 * 5 + 14, 28 + 14), strict=True))
    assert click.code == "pyautogui.click({}, {})".format(*click.pixels)
    assert click.box == (140, 28, 168, 56) and click.region.patches == 1
    assert click.scores.shape == (5, 8) and click.scores.sum() == pytest.approx(1, abs=1e-5)
    assert click.score == click.scores.max() and click.infer_ms > 0
    assert "pyautogui.click" in str(click) and click.to_json()["box"] == [140, 28, 168, 56]


def test_scores_are_those_of_the_graphs(session):
    with session.open(PICTURE) as screen:
        for name in PLACES:
            found = screen.click(name).scores
            pixels = preprocess([PICTURE], contract(WIDE))[0]
            np.testing.assert_allclose(found.ravel(), scores_of(pixels, name), rtol=1e-3, atol=1e-6)  # keys in float16


def test_many_instructions_are_one_batch_with_the_answers_of_each_alone(session):
    with session.open(PICTURE) as screen:
        texts = ["red", "click the green button", "blue button", "the red"]
        together = screen.click(texts)
        for text, click in zip(texts, together, strict=True):
            alone = screen.click(text)
            assert click.instruction == text
            np.testing.assert_allclose(click.scores, alone.scores, rtol=0, atol=1e-7)
            assert click.point == pytest.approx(alone.point, abs=1e-6)
        assert screen.click([]) == []


def test_screens_of_one_size_share_a_batch_and_of_several_keep_their_order(session):
    with session.open(PICTURE) as one, session.open(OTHER) as two, session.open(screenshot(TALL, red=(2, 5))) as tall:
        found = session.click([(one, "red"), (tall, "red"), (two, "red"), (two, "blue"), (one, "blue")])
        expected = [(5, 1), (2, 5), (1, 3), (3, 2), (7, 0)]
        sizes = [WIDE, TALL, WIDE, WIDE, WIDE]
        for click, at, size in zip(found, expected, sizes, strict=True):
            assert click.point == pytest.approx(middle(*at, size), abs=1e-3)


def test_every_row_is_fed_with_the_start_and_the_store_of_its_own_screen(session, monkeypatch):
    fed = []
    run = session.run
    monkeypatch.setattr(session, "run", lambda feeds, graph=None: fed.append((graph, feeds)) or run(feeds, graph))
    with session.open(PICTURE) as one, session.open(OTHER) as two:
        assert [graph for graph, _ in fed] == ["vision_224x140", "prefix_224x140"] * 2
        two.start = 99  # as if it had been another
        session.click([(one, "red"), (two, "click the blue button")])
        graph, feeds = fed[-1]
        assert graph == "instruction" and feeds["start"].tolist() == [3 + 8, 99]
        assert feeds["lengths"].tolist() == [6, 9]
        assert feeds["tokens"].tolist() == [[2] * 3 + ids("red"), ids("click", "the", "blue", "button")]
        assert np.array_equal(feeds["keys"], np.concatenate([one.stored()["keys"], two.stored()["keys"]]))
        assert len(fed) == 5  # two screens, one batch


def test_a_batch_that_is_too_large_goes_in_parts(session, monkeypatch):
    from edgesmith.runtime.tasks.grounding.screens import screens

    with session.open(PICTURE) as screen:
        texts = ["red", "green", "blue"] * 3
        whole = screen.click(texts)  # the graph takes four
        monkeypatch.setattr(screens, "BATCH_BYTES", 1)
        for one, other in zip(whole, screen.click(texts), strict=True):
            np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-7)


def test_threads_click_on_screens_of_their_own(session):
    with session.open(PICTURE) as one, session.open(OTHER) as two:
        expected = {(screen.key, name): screen.click(name).point for screen in (one, two) for name in PLACES}

        def wrong(caller: int) -> int:
            misses = 0
            for turn in range(6):
                screen, name = (one, two)[(caller + turn) % 2], list(PLACES)[(caller + turn) % 3]
                with session.open(screenshot(WIDE, red=(caller % 8, 2))) as own:
                    misses += own.click("red").point != pytest.approx(middle(caller % 8, 2), abs=1e-3)
                misses += screen.click(name).point != expected[screen.key, name]
            return misses

        assert all_at_once(wrong) == [0] * CALLERS


def test_the_second_look_is_nearer(session):
    large = np.repeat(np.repeat(PICTURE, 4, axis=0), 4, axis=1)  # 896 x 560: a part of 140 pixels around 616, 168
    with session.open(large) as screen:
        first, second = screen.click("red"), screen.click("red", zoom=2)
        with pytest.raises(UserMistake, match="no such zoom"):
            screen.click("red", zoom=3)
    left, top, right, bottom = second.seen
    assert right - left == bottom - top == 140 and abs(left - 546) <= 2 and abs(top - 98) <= 2
    x, y = second.pixels
    assert 560 <= x < 672 and 112 <= y < 224
    assert second.scores.shape == (4, 4) and first.scores.shape == (5, 8)
    assert second.to_json()["zoomed"] == list(second.seen) and first.to_json()["zoomed"] is None


def test_without_a_square_size_there_is_no_second_look(tmp_path):
    place = write_grounding_bundle(tmp_path / "wide.edge", sizes=(WIDE,))
    with load(place) as session, session.open(PICTURE) as screen, pytest.raises(UserMistake, match="cannot zoom"):
        screen.click("red", zoom=2)


def test_a_picture_and_instructions_in_one_call(session):
    found = session(PICTURE, instruction=["red", "blue"])
    assert [click.instruction for click in found] == ["red", "blue"] and found.looked_at == (140, 224)
    assert found[1].point == pytest.approx(middle(*PLACES["blue"]), abs=1e-3)
    assert found.infer_ms > 0 and len(session([PICTURE, OTHER], instruction="red")) == 2
    with pytest.raises(UserMistake, match="needs an instruction"):
        session(PICTURE)
    with pytest.raises(UserMistake, match="takes no score"):
        session(PICTURE, instruction="red", score=0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "instruction is empty"),
        ("   ", "instruction is empty"),
        (None, "no instruction"),
        ("red " * 1_001, "too long"),
        ("red " * 30, "too long"),
        ("click <|pointer_pad|>", "steers the model"),
        ("<|image_pad|> red", "steers the model"),
    ],
)
def test_an_instruction_that_cannot_be_asked_is_told(session, text, words):
    with session.open(PICTURE) as screen, pytest.raises(UserMistake, match=words):
        session.click([(screen, text)])


def test_pairs_that_cannot_be_clicked_are_told(session, place):
    screen = session.open(PICTURE)
    with load(place) as second, pytest.raises(UserMistake, match="another session"):
        second.click([(screen, "red")])
    for pairs, told in (("red", "pairs"), ([screen], "pair"), ([("red", screen)], "pair")):
        with pytest.raises(UserMistake, match=told):
            session.click(pairs)
    screen.close()
    screen.close()
    for call in (lambda: screen.click("red"), lambda: session.click([(screen, "red")]), screen.pin):
        with pytest.raises(UserMistake, match="closed"):
            call()


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (np.zeros((1, 1, 3), np.uint8), "no screenshot"),
        (np.zeros((20, 2000, 3), np.uint8), "no screenshot"),
        (np.zeros((40, 2000, 3), np.uint8), "shape of no screen"),
        (np.zeros((4, 4), np.float32), "values|picture"),
    ],
)
def test_a_picture_that_is_no_screen_is_told(session, picture, told):
    with pytest.raises(UserMistake, match=told):
        session.open(picture)


def test_a_very_large_screenshot_is_looked_at_smaller_and_that_is_told(session):
    large = np.repeat(np.repeat(PICTURE, 4, axis=0), 4, axis=1)
    with session.open(large) as screen:
        assert "looked at as 224 x 140" in screen.notes[0]
        x, y = screen.click("red").pixels
        assert 560 <= x < 672 and 112 <= y < 224


def test_a_closed_session_opens_nothing(place):
    session = load(place)
    screen = session.open(PICTURE)
    session.close()
    for call in (lambda: session.open(PICTURE), lambda: screen.click("red"), lambda: session.click([(screen, "red")])):
        with pytest.raises(UserMistake, match="closed"):
            call()


def test_the_self_test_runs_the_whole_way(session):
    scores, pixels = session.self_test()
    assert (
        scores.passed
        and scores.cases == 2
        and scores.top1 == 1.0
        and "graphs not covered: vision_84x168" in scores.told
    )
    assert pixels.output == "preprocessing" and pixels.passed


def test_other_tasks_open_no_screens(tmp_path):
    from small_bundle import write_small_bundle

    place = write_small_bundle(tmp_path / "small.edge")
    with load(place) as session:
        for call in (lambda: session.open(PICTURE), lambda: session.click([])):
            with pytest.raises(UserMistake, match="keeps no pictures open"):
                call()
        with pytest.raises(UserMistake, match="takes no instruction"):
            session(PICTURE, instruction="red")
    with pytest.raises(UserMistake, match="keeps no pictures open"):
        load(place, pool_mb=4)


def test_squares_have_a_size_of_their_own(session):
    with session.open(screenshot(SQUARE, blue=(2, 3))) as screen:
        assert screen.bucket.screen == SQUARE and screen.click("blue").point == pytest.approx(
            middle(2, 3, SQUARE), abs=1e-3
        )


def test_a_bundle_that_is_replaced_changes_nothing_in_an_open_session(tmp_path):
    import shutil

    place = write_grounding_bundle(tmp_path / "colours.edge", sizes=(WIDE,))
    with load(place) as session, session.open(PICTURE) as screen:
        first = screen.click("red").point  # all graphs are open now
        shutil.rmtree(place)
        write_grounding_bundle(place, sizes=(TALL,))
        assert session.bundle.held("tokenizer.json", 2**20) and screen.click("red").point == first


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=workstation)])
def test_every_backend_clicks_alike(place, backend):
    if backend == "openvino":
        openvino_or_skip()
    with load(place, backend=backend) as session, session.open(PICTURE) as screen:
        clicks = screen.click(["red", "click the green button", "blue"])
        assert [click.code for click in clicks] == [f"pyautogui.click({x}, {y})" for x, y in MIDDLES]
        assert all(row.passed for row in session.self_test())
