"""The pool of screens: bytes to the last one, what was used longest ago goes, pinned ones stay, and no room is said in words."""

from __future__ import annotations

import numpy as np
import pytest
from grounding_bundle import TALL, WIDE, encode, screenshot, write_grounding_bundle
from many_threads import CALLERS, all_at_once

from edgesmith.runtime.backends.load import load
from edgesmith.runtime.errors import UserMistake
from edgesmith.runtime.tasks.grounding import words
from edgesmith.runtime.tasks.grounding.screens.pool import MB, Pool, budget_bytes

WIDE_BYTES = 2 * 2 * (3 + 40) * 4 + 4 * 4  # keys and values in float16 of 3 + 5 x 8 tokens, and the sums in float32


def arrays(size: int) -> dict[str, np.ndarray]:
    return {"keys": np.zeros(size // 2, np.uint8), "values": np.zeros(size - size // 2, np.uint8)}


def test_bytes_are_counted_to_the_last():
    pool = Pool(1_000)
    pool.put(1, arrays(300))
    pool.put(2, arrays(101))
    assert pool.used_bytes == 401 and len(pool) == 2
    pool.put(1, arrays(250))  # again: in the place of what it was
    assert pool.used_bytes == 351
    pool.drop(2)
    pool.drop(2)
    assert pool.used_bytes == 250 and 2 not in pool
    pool.close()
    pool.put(3, arrays(10))
    assert pool.used_bytes == 0 and pool.get(1) is None and pool.get(3) is None


def test_what_was_used_longest_ago_goes():
    pool = Pool(300)
    for key in (1, 2, 3):
        pool.put(key, arrays(100))
    assert pool.get(1) is not None  # now 2 is the oldest
    pool.put(4, arrays(100))
    assert [key for key in (1, 2, 3, 4) if key in pool] == [1, 3, 4] and pool.used_bytes == 300
    pool.put(5, arrays(250))
    assert [key for key in range(6) if key in pool] == [5]


def test_a_pinned_screen_stays():
    pool = Pool(300)
    for key in (1, 2, 3):
        pool.put(key, arrays(100))
    pool.pin(1)
    pool.put(4, arrays(200))
    assert [key for key in range(5) if key in pool] == [1, 4]
    with pytest.raises(UserMistake, match="no room for this screen") as told:
        pool.put(5, arrays(250))
    assert "screen.unpin()" in str(told.value) and [key for key in range(6) if key in pool] == [1, 4]
    pool.unpin(1)
    pool.put(5, arrays(250))
    assert 1 not in pool and 5 in pool


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "12", True])
def test_a_budget_that_is_none_is_refused(wrong):
    with pytest.raises(UserMistake, match="needs a size"):
        budget_bytes(wrong)


def test_a_budget_is_in_megabytes():
    assert budget_bytes(0.5) == MB // 2 and budget_bytes(None) == 512 * MB


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_grounding_bundle(tmp_path_factory.mktemp("grounding") / "colours.edge")


@pytest.fixture(autouse=True)
def _words(monkeypatch):
    monkeypatch.setattr(words, "encoder", lambda data: (encode, ()))


def open_with(place, screens: float):
    """A session whose pool holds so many wide screens."""
    return load(place, pool_mb=screens * WIDE_BYTES / MB)


def test_a_screen_takes_what_the_manifest_says(place):
    with load(place) as session, session.open(screenshot(WIDE, red=(1, 1))) as screen:
        desk = session.screens()
        assert desk.pool.used_bytes == desk.bytes_of(screen.bucket) == WIDE_BYTES
        with session.open(screenshot(TALL)):
            assert desk.pool.used_bytes == WIDE_BYTES + 2 * 2 * (3 + 18) * 4 + 16
        assert desk.pool.used_bytes == WIDE_BYTES
    assert desk.pool.used_bytes == 0


def test_a_screen_that_went_is_looked_at_again_from_its_picture(place):
    with open_with(place, 2) as session:
        screens = [session.open(screenshot(WIDE, red=(column, 1))) for column in range(4)]
        assert [screen.is_kept for screen in screens] == [False, False, True, True]
        points = [click.pixels[0] // 28 for click in session.click([(screen, "red") for screen in screens])]
        assert points == [0, 1, 2, 3] and session.screens().pool.used_bytes <= 2 * WIDE_BYTES
        screens[1].pin()
        for screen in (screens[0], screens[2], screens[3]):
            screen.click("red")
            assert screens[1].is_kept


def test_a_pool_below_one_screen_is_refused_before_anything_is_computed(place, monkeypatch):
    with pytest.raises(UserMistake, match="no room for even the smallest screen of this bundle, 112x112|84x168"):
        load(place, pool_mb=0.0001)
    with open_with(place, 0.9) as session:  # the small ones fit
        monkeypatch.setattr(session, "run", lambda *_, **__: pytest.fail("nothing is to be computed"))
        with pytest.raises(UserMistake, match="no room for a screen of 224x140") as told:
            session.open(screenshot(WIDE))
        assert "--pool-mb" in str(told.value) and f"{WIDE_BYTES:,} bytes" in str(told.value)


def test_pinned_screens_leave_no_room_and_that_is_told(place):
    with open_with(place, 1.5) as session:
        first = session.open(screenshot(WIDE, red=(1, 1)))
        first.pin()
        with pytest.raises(UserMistake, match="pinned screens hold"):
            session.open(screenshot(WIDE))
        first.unpin()
        with session.open(screenshot(WIDE, red=(3, 1))) as second:
            assert second.click("red").pixels[0] // 28 == 3 and not first.is_kept


def test_threads_share_a_pool_that_is_too_small_for_them(place):
    with open_with(place, 3) as session:
        screens = [session.open(screenshot(WIDE, red=(caller % 8, 2))) for caller in range(CALLERS)]
        computed = []
        look = session.screens().look

        def wrong(caller: int) -> int:
            return sum(
                screens[(caller + turn) % CALLERS].click("red").pixels[0] // 28 != (caller + turn) % CALLERS % 8
                for turn in range(4)
            )

        session.screens().look = lambda *asked: computed.append(asked) or look(*asked)
        assert all_at_once(wrong) == [0] * CALLERS
        assert computed and session.screens().pool.used_bytes <= 3 * WIDE_BYTES
