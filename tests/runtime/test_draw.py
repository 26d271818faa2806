"""What is drawn can be read: colours apart, letters against their field, labels whole and inside, at every size of picture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.detection import draw as drawing
from edgesmith.runtime.tasks.detection.detection import Detections
from edgesmith.runtime.tasks.detection.draw import (
    BLACK,
    WHITE,
    Pen,
    class_colour,
    contrast,
    draw,
    draw_text,
    oklab,
    readable,
    text_colour,
)

NAMES = ["person", "traffic light", "Füßgänger", "行人"]


def detections(size, *boxes, classes=None, scores=None, labels=NAMES):
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4),
        np.array(scores or np.linspace(0.9, 0.5, count), np.float32),
        np.array(classes or [0] * count, np.int64),
        labels,
        size,
    )


def grey(height, width):
    return np.full((height, width, 3), 127, np.uint8)


def field_of(drawn, index=0):
    """Bounds (top, bottom, left, right) of the rows that are filled with the colour of a class: its label's field."""
    coloured = (drawn == class_colour(index)).all(axis=2)
    rows = np.flatnonzero(coloured.sum(axis=1) > 0)
    columns = np.flatnonzero(coloured.sum(axis=0) > 0)
    return rows[0], rows[-1], columns[0], columns[-1]


def test_the_input_is_not_written_to_and_the_size_stays():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    before = image.copy()
    image.flags.writeable = False
    drawn = draw(image, detections((60, 80), (10, 30, 40, 55)))
    np.testing.assert_array_equal(image, before)
    assert drawn.shape == image.shape and drawn.dtype == np.uint8 and (drawn != image).any()


def test_nothing_found_changes_nothing():
    image = grey(40, 50)
    np.testing.assert_array_equal(draw(image, detections((40, 50))), image)
    np.testing.assert_array_equal(draw(image, detections((40, 50), (1, 1, 20, 20)), score=0.95), image)


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (40, 50, 4)])
def test_grey_and_transparent_pictures_are_drawn_on_in_colour(shape):
    drawn = draw(np.full(shape, 90, np.uint8), detections((40, 50), (5, 20, 30, 35)))
    assert drawn.shape == (40, 50, 3) and (drawn == class_colour(0)).all(axis=2).any()


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(UserMistake, match="not of this picture"):
        draw(grey(40, 50), detections((50, 40), (1, 1, 5, 5)))


def test_the_box_is_where_it_was_found():
    drawn = draw(grey(200, 200), detections((200, 200), (50, 80, 150, 160)))
    colour = np.array(class_colour(0))
    assert Pen.of(200, 200).line_px == 1
    assert (drawn[80, 50:150] == colour).all() and (drawn[159, 50:150] == colour).all()
    assert (drawn[80:160, 50] == colour).all() and (drawn[80:160, 149] == colour).all()
    assert (drawn[82:158, 52:148] == 127).all() and (drawn[161:] == 127).all()


@pytest.mark.parametrize("box", [(0, 0, 640, 480), (-90, -90, 900, 900), (639, 479, 640, 480), (630, 0, 640, 480)])
def test_a_box_at_the_border_keeps_its_whole_line(box):
    drawn = draw(grey(480, 640), detections((480, 640), box))
    line = Pen.of(480, 640).line_px
    assert line == 2
    right = (drawn[470] == class_colour(0)).all(axis=1)[-line - 1 :]
    assert right.sum() >= line or box[0] == 639


@pytest.mark.parametrize("box", [(10, 10, 10, 10), (32, 32, 32, 32), (0, 0, 0, 0), (20, 5, 20, 30), (25, 25, 20, 20)])
def test_a_box_without_area_is_a_dot_or_a_line(box):
    assert (draw(grey(32, 32), detections((32, 32), box)) != 127).any()


def test_boxes_that_are_no_numbers_or_far_outside_do_no_harm():
    image = grey(64, 64)
    np.testing.assert_array_equal(draw(image, detections((64, 64), (np.nan, 0, 5, 5), (0, 0, np.inf, 9))), image)
    draw(image, detections((64, 64), (-1e30, -1e30, 1e30, 1e30), (1e9, 1e9, 2e9, 2e9)))


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (480, 640), (2160, 3840)])
def test_labels_stay_inside_wherever_the_box_is(size, monkeypatch):
    height, width = size
    written = []
    real = Pen.write

    def watched(pen, canvas, text, left, top, colour):
        written.append((text, left, top, left + pen.width_px(text) + 2 * pen.margin_px, top + pen.field_px))
        real(pen, canvas, text, left, top, colour)

    monkeypatch.setattr(Pen, "write", watched)
    corners = [(x, y) for x in (0, width / 2, width - 8) for y in (0, height / 2, height - 8)]
    for x, y in corners:
        draw(grey(*size), detections(size, (x, y, x + 8, y + 8), classes=[1]))
    assert len(written) == len(corners)
    for text, left, top, right, bottom in written:
        assert text and 0 <= left < right <= width and 0 <= top < bottom <= height


def test_letters_and_lines_grow_with_the_picture_and_never_get_too_small():
    sizes = [(32, 32), (416, 416), (1080, 1920), (2160, 3840), (4320, 7680)]
    pens = [Pen.of(*size) for size in sizes]
    assert all(pen.rise_px >= 7 for pen in pens)  # letters of fewer rows cannot be told apart
    assert [pen.line_px for pen in pens] == sorted(pen.line_px for pen in pens) and pens[0].line_px == 1
    for (height, width), pen in zip(sizes[2:], pens[2:], strict=True):
        # seen on a screen of a thousand pixels, letters are still 12 or more of them high
        assert 0.012 <= pen.rise_px / (height * width) ** 0.5 <= 0.03
        assert pen.line_px / (height * width) ** 0.5 >= 1 / 400


def test_labels_move_out_of_each_other_s_way():
    size = (480, 640)
    boxes = [(100, 100, 300, 300), (104, 104, 304, 304), (96, 96, 296, 296), (100, 98, 300, 302)]
    pen = Pen.of(*size)
    texts = ["person 0.90"] * 4
    places = drawing.label_places(np.array(boxes, np.float32), texts, pen, *size)
    for one, other in itertools.combinations(places, 2):
        shared = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
        assert (shared <= 0).any(), (one, other)
    assert places[0].tolist()[:2] == [100, 100 - pen.field_px]  # the best one has the first choice: above its box


def test_a_label_without_room_above_goes_into_the_box():
    top, bottom, *_ = field_of(draw(grey(480, 640), detections((480, 640), (200, 0, 400, 300))))
    assert top == 0 and bottom >= 290  # the field is part of the same colour as the box, nothing is above
    places = drawing.label_places(np.array([[200, 0, 400, 300]], np.float32), ["person"], Pen.of(480, 640), 480, 640)
    assert places[0, 1] == 0


@pytest.mark.parametrize("index", range(drawing.COLOURS))
def test_text_stands_out_from_every_class_colour(index):
    assert contrast(text_colour(class_colour(index)), class_colour(index)) >= 4.5  # WCAG 2, level AA


def test_contrast_is_that_of_wcag():
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast((118, 118, 118), WHITE) == pytest.approx(4.54, abs=0.01)  # the grey that W3C's examples name
    assert text_colour((255, 255, 0)) == BLACK and text_colour((0, 0, 160)) == WHITE


def test_eighty_classes_have_colours_apart_and_always_the_same():
    colours = np.array([class_colour(index) for index in range(80)])
    seen = oklab(colours / 255)
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + np.eye(80)
    assert apart.min() > 0.05  # 0.02 is about the least difference that is noticed side by side
    ten = apart[:10, :10].min()
    assert ten > 0.15
    assert class_colour(3) == class_colour(3 + drawing.COLOURS)
    assert class_colour(0) == tuple(colours[0]) and len({tuple(c) for c in colours}) == 80


def test_oklab_agrees_with_the_table_of_its_definition():
    """White, and the red of the definition's own table (Ottosson 2020)."""
    np.testing.assert_allclose(oklab(np.array([[1.0, 1, 1]]))[0], [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(oklab(np.array([[1.0, 0, 0]]))[0], [0.628, 0.225, 0.126], atol=1e-3)


@pytest.mark.parametrize(
    ("label", "ascii_only", "unicode_too"),
    [
        ("person", "person", "person"),
        ("Füßgänger", "Fussganger", "Füßgänger"),
        ("行人", "class 7", "行人"),
        ("поезд", "class 7", "поезд"),
        ("مرحبا", "class 7", "class 7"),  # needs joining and right to left, which OpenCV does not do
        ("🚗", "class 7", "class 7"),
        ("🚗 car", "car", "car"),
        ("a\nb\tc\x00", "a b c", "a b c"),
        ("", "class 7", "class 7"),
        ("  ", "class 7", "class 7"),
    ],
)
def test_names_are_written_as_far_as_the_font_goes(label, ascii_only, unicode_too, monkeypatch):
    for can, expected in ((False, ascii_only), (True, unicode_too)):
        readable.cache_clear()
        monkeypatch.setattr(drawing, "_writes_unicode", lambda can=can: can)
        assert readable(label, 7) == expected
    readable.cache_clear()


def test_long_names_are_shortened_to_the_picture():
    pen = Pen.of(64, 64)
    fitted = pen.fitting(("a very long name of a class 0.87", "a very long name of a class"), 60)
    assert fitted.startswith("a ") and fitted.endswith(".") and pen.width_px(fitted) <= 60
    assert pen.fitting(("person 0.87", "person"), 1000) == "person 0.87"
    assert pen.fitting(("person 0.87", "person"), 1) == ""
    for size in ((1, 1), (3, 200), (200, 3)):
        draw(grey(*size), detections(size, (0, 0, size[1], size[0])))


def test_five_hundred_boxes_can_be_drawn():
    rng = np.random.default_rng(1)
    low = rng.uniform(0, 400, (500, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 100, (500, 2))], axis=1)
    picture = grey(480, 640)
    drawn = draw(picture, detections((480, 640), *boxes, classes=rng.integers(0, 4, 500).tolist()))
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8 and (picture == 127).all()
    changed = (drawn != picture).any(axis=2)
    # in the middle of two sides of every box something was drawn: its own edge, or a box or label that came later
    edges = [(x1, (y1 + y2) / 2) for x1, y1, _, y2 in boxes] + [((x1 + x2) / 2, y2) for x1, _, x2, y2 in boxes]
    assert all(changed[min(round(y), 479), min(round(x), 639)] for x, y in edges)


def test_a_class_in_the_corner():
    image = grey(240, 320)
    drawn = draw_text(image, "blue 87%", (0, 0, 160))
    top, left = drawn[0, 0].tolist(), drawn[-1, -1].tolist()
    assert top == [0, 0, 160] and left == [127, 127, 127] and (image == 127).all()
    assert drawn[:, :, 1].max() > 180  # white letters; thin ones are smoothed a little into their field
