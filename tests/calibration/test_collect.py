"""One pass: the statistics are those of the tensors, saved as it goes, and not repeated when the cache has them."""

from __future__ import annotations

import numpy as np
import pytest
from observed_graph import TENSORS, TEXT, RandomImages, small_net

from edgesmith.calibration.statistics import collect as collecting
from edgesmith.calibration.statistics.collect import collect
from edgesmith.calibration.statistics.moments import collect_moments
from edgesmith.calibration.statistics.observers import FIELDS, Observer, Statistics
from edgesmith.graph.run import run_values
from edgesmith.runtime.errors import EdgesmithError, UserMistake


class Interrupted(RandomImages):
    """Stops before image ``at``, as Ctrl-C does."""

    def __init__(self, count: int, at: int) -> None:
        super().__init__(count)
        self.at = at

    def batches(self, size, start=0):
        for batch in super().batches(size, start):
            start += len(batch)
            if start > self.at:
                raise KeyboardInterrupt
            yield batch


def assert_same(one: Statistics, other: Statistics) -> None:
    assert list(one.tensors) == list(other.tensors)
    assert (one.images, one.key) == (other.images, other.key)
    for name, stats in one.tensors.items():
        for field in FIELDS:
            left, right = getattr(stats, field), getattr(other.tensors[name], field)
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right, err_msg=f"{name} {field}")


def test_statistics_are_those_of_the_tensors(tmp_path):
    images = RandomImages(6)
    found = collect(small_net(), TENSORS, images, cache=tmp_path, batch=4)
    values = run_values(small_net(), {"images": next(images.batches(6))}, ["body", "tokens", "hidden"])
    values["images"] = next(images.batches(6))
    for name, axis in TENSORS.items():
        channels = np.moveaxis(values[name], axis, 0).reshape(values[name].shape[axis], -1)
        stats = found.tensors[name]
        np.testing.assert_allclose(stats.low, channels.min(axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stats.high, channels.max(axis=1), rtol=1e-5, atol=1e-6)
        assert stats.total == channels.shape[1]
        for channel, row in enumerate(channels):
            expected = np.histogram(row.astype(np.float64), stats.edges()[channel])[0]
            # fused kernels round differently: a value on the edge of a bin may change sides
            assert np.abs(stats.counts[channel].astype(int) - expected).sum() <= 0.005 * len(row)
    assert (found.images, found.from_cache, found.notes) == (6, False, ())


def test_a_second_call_runs_no_image(tmp_path):
    first = collect(small_net(), TENSORS, RandomImages(10), cache=tmp_path)
    images = RandomImages(10)
    second = collect(small_net(), TENSORS, images, cache=tmp_path)
    assert second.from_cache and images.fed == 0
    assert_same(second, first)


def test_other_tensors_are_not_taken_from_the_cache(tmp_path):
    collect(small_net(), {"tokens": -1}, RandomImages(4), cache=tmp_path)
    second = collect(small_net(), {"hidden": -1}, RandomImages(4), cache=tmp_path)
    assert not second.from_cache and list(second.tensors) == ["hidden"]


@pytest.mark.parametrize("at", [1, 9, 17, 23])
def test_an_interrupted_pass_continues_with_the_same_bits(tmp_path, at):
    whole = collect(small_net(), TENSORS, RandomImages(24), cache=tmp_path / "whole", batch=4)
    with pytest.raises(KeyboardInterrupt):
        collect(small_net(), TENSORS, Interrupted(24, at), cache=tmp_path, batch=4, save_every=2)
    images = RandomImages(24)
    # another batch is asked for: the one of the first run is used
    again = collect(small_net(), TENSORS, images, cache=tmp_path, batch=5, save_every=2)
    saved = at // 8 * 8
    assert images.fed == 24 - saved + (0 if saved else 1)  # without a file, one image is run to see how large it gets
    assert ("continued after" in "".join(again.notes)) == bool(saved)
    assert_same(again, whole)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(tmp_path, threads):
    one = collect(small_net(), TENSORS, RandomImages(8), cache=tmp_path / "one")
    assert_same(collect(small_net(), TENSORS, RandomImages(8), cache=tmp_path / "n", threads=threads), one)


def test_a_large_batch_is_cut_to_the_memory(tmp_path, monkeypatch):
    sizes = []

    class Watched(RandomImages):
        def batches(self, size, start=0):
            sizes.append(size)
            return super().batches(size, start)

    bytes_of_one = 4 * (3 + 8 + 8 + 24) * 256
    monkeypatch.setattr(collecting, "MEMORY_BYTES", 3 * bytes_of_one + 1)
    collect(small_net(), TENSORS, Watched(9), cache=tmp_path, batch=8)
    assert sizes == [1, 3]


def test_a_fixed_batch_is_filled_up_with_the_first_images(tmp_path):
    fixed = small_net(TEXT.replace("[batch,", "[4,"))
    found = collect(fixed, {"images": 1}, RandomImages(6), cache=tmp_path)
    expected = Observer("images", 1)
    order = [0, 1, 2, 3, 4, 5, 0, 1]
    expected.add(np.stack([RandomImages(6).image(number) for number in order]), 6)
    np.testing.assert_array_equal(found.tensors["images"].counts, expected.stats().counts)
    assert found.tensors["images"].images == 6


def test_fewer_images_than_the_fixed_batch(tmp_path):
    fixed = small_net(TEXT.replace("[batch,", "[4,"))
    assert collect(fixed, TENSORS, RandomImages(1), cache=tmp_path).tensors["body"].total == 4 * 256


def test_progress_is_counted_in_pictures(tmp_path):
    seen = []
    collect(small_net(), TENSORS, RandomImages(5), cache=tmp_path, batch=2, progress=lambda *row: seen.append(row))
    assert seen == [("calibrating", 2, 5), ("calibrating", 4, 5), ("calibrating", 5, 5)]


def test_no_images_is_a_mistake_of_the_user(tmp_path):
    with pytest.raises(UserMistake, match="needs images"):
        collect(small_net(), TENSORS, RandomImages(0), cache=tmp_path)


def test_a_tensor_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="no tensor 'elsewhere'"):
        collect(small_net(), {"elsewhere": 1}, RandomImages(2), cache=tmp_path)


def test_a_tensor_that_overflows_is_named(tmp_path):
    class Loud(RandomImages):
        def image(self, number):
            return super().image(number) * np.float32(1e37 if number == 3 else 1)

    with pytest.raises(EdgesmithError, match="cannot be calibrated"):
        collect(small_net(), {"tokens": -1}, Loud(5), cache=tmp_path)


def test_images_that_end_early_are_noticed(tmp_path):
    class Short(RandomImages):
        def __len__(self):
            return 9

    with pytest.raises(EdgesmithError, match="(?s)image set changed.*8 images"):
        collect(small_net(), TENSORS, Short(8), cache=tmp_path)


def test_moments_are_those_of_the_tensors(tmp_path):
    images = RandomImages(6)
    found = collect_moments(small_net(), TENSORS, images, cache=tmp_path, batch=4)
    values = run_values(small_net(), {"images": next(images.batches(6))}, ["body", "tokens", "hidden"])
    values["images"] = next(images.batches(6))
    for name, axis in TENSORS.items():
        rows = np.moveaxis(values[name], axis, -1).reshape(-1, values[name].shape[axis]).astype(np.float64)
        expected = rows.T @ rows / len(rows)
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(found[name], found[name].T)


def test_moments_come_from_the_cache_and_continue_after_an_interrupt(tmp_path):
    tensors = {**TENSORS, "logits": -1}  # a row an image: some still wait for a product when the file is written
    whole = collect_moments(small_net(), tensors, RandomImages(24), cache=tmp_path / "whole", batch=1)
    with pytest.raises(KeyboardInterrupt):
        collect_moments(small_net(), tensors, Interrupted(24, 13), cache=tmp_path, batch=1, save_every=3)
    notes: list[str] = []
    again = collect_moments(small_net(), tensors, RandomImages(24), cache=tmp_path, batch=1, notes=notes)
    assert notes == ["continued after 12 of 24 images, which an earlier run had counted"]
    images = RandomImages(24)
    third = collect_moments(small_net(), tensors, images, cache=tmp_path, batch=1)
    assert images.fed == 0
    logits = run_values(small_net(), {"images": next(images.batches(24))}, None)["logits"].astype(np.float64)
    np.testing.assert_allclose(whole["logits"], logits.T @ logits / 24, rtol=1e-4, atol=1e-5)
    for name, moments in whole.items():
        np.testing.assert_array_equal(again[name], moments)
        np.testing.assert_array_equal(third[name], moments)


def test_moments_that_overflow_name_the_tensor(tmp_path):
    class Loud(RandomImages):
        def image(self, number):
            return super().image(number) * np.float32(1e25)

    with pytest.raises(EdgesmithError, match="(?s)'images' cannot be calibrated.*second moments"):
        collect_moments(small_net(), {"images": 1}, Loud(2), cache=tmp_path)


def test_moments_and_statistics_share_a_folder(tmp_path):
    collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
    collect_moments(small_net(), TENSORS, RandomImages(4), cache=tmp_path)
    assert sorted(path.name.split("-")[0] for path in tmp_path.iterdir()) == ["moments", "statistics"]
    assert collect(small_net(), TENSORS, RandomImages(4), cache=tmp_path).from_cache
