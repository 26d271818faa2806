"""What a build on a device asks of the library, by its version: types, level, timings, accelerator; the library is played."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from edgesmith.runtime.backends.gpu.builder_settings import keep_timings, set_up, typed_network
from edgesmith.runtime.errors import BackendUnavailable, UserMistake


def library(version: str):
    """As far as it differs: 8.5 has no typed networks, 11 no builder that chooses types."""
    major = int(version.split(".")[0])
    kinds = {"EXPLICIT_BATCH": 0} if major < 11 else {}
    kinds |= {"STRONGLY_TYPED": 1} if major >= 10 else {}
    flags = {"GPU_FALLBACK": "fallback"} | ({"FP16": "fp16"} if major < 11 else {})
    return SimpleNamespace(
        __version__=version,
        NetworkDefinitionCreationFlag=SimpleNamespace(**kinds),
        BuilderFlag=SimpleNamespace(**flags),
        DeviceType=SimpleNamespace(DLA="dla"),
    )


class Config:
    """``fits``: whether the library takes the timings that it is given."""

    def __init__(self, levels: bool = True, fits: bool = True) -> None:
        self.flags, self.caches, self.fits = [], [], fits
        if levels:
            self.builder_optimization_level = 3

    def set_flag(self, flag):
        self.flags.append(flag)

    def create_timing_cache(self, data):
        return SimpleNamespace(data=data, serialize=lambda: memoryview(b"after " + data))

    def set_timing_cache(self, cache, ignore_mismatch):
        assert ignore_mismatch is False, "timings of another device would be believed"
        if not self.fits and cache.data:
            return False
        self.caches.append(cache)
        return True

    def get_timing_cache(self):
        return self.caches[-1] if self.caches else None


@pytest.mark.parametrize(
    ("version", "dla", "flags", "typed"),
    [
        ("8.5.2", None, 1 << 0, False),
        ("8.6.2", 0, 1 << 0, False),
        ("10.3.0", None, 1 << 1, True),
        ("10.3.0", 0, 1 << 0, False),
        ("11.4.1", None, 1 << 1, True),
        ("11.4.1", 0, 1 << 1, True),
    ],
)
def test_types_are_decided_by_our_graph_wherever_that_is_possible(version, dla, flags, typed):
    assert typed_network(library(version), {"dla_core": dla}) == (flags, typed)


def test_a_plain_build_asks_for_nothing():
    config = Config()
    assert list(set_up(library("10.3.0"), SimpleNamespace(), config, {})) == []
    assert config.builder_optimization_level == 3 and not config.flags and not config.caches
    keep_timings(config, {})


def test_a_level_is_set_where_there_are_levels_and_told_where_not():
    config, old = Config(), Config(levels=False)
    assert list(set_up(library("10.3.0"), SimpleNamespace(), config, {"level": 2})) == []
    assert config.builder_optimization_level == 2
    (told,) = set_up(library("8.5.2"), SimpleNamespace(), old, {"level": 2})
    assert "no optimisation levels" in told and not hasattr(old, "builder_optimization_level")


@pytest.mark.parametrize("fits", [True, False])
def test_timings_are_taken_over_and_left_for_the_next(tmp_path, fits):
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(b"kept")
    config, request = Config(fits=fits), {"timings": [str(before), str(after)]}
    told = list(set_up(library("10.3.0"), SimpleNamespace(), config, request))
    assert bool(told) is not fits and config.caches[-1].data == (b"kept" if fits else b"")
    keep_timings(config, request)
    assert after.read_bytes() == (b"after kept" if fits else b"after ")


@pytest.mark.parametrize(("version", "half"), [("8.5.2", True), ("10.3.0", True), ("11.4.1", True), ("11.4.1", False)])
def test_an_accelerator_that_is_there_gets_what_it_can(version, half):
    config = Config()
    assert list(set_up(library(version), SimpleNamespace(num_DLA_cores=2), config, {"dla_core": 1, "half": half})) == []
    assert (config.default_device_type, config.DLA_core, config.flags) == ("dla", 1, ["fallback"])


@pytest.mark.parametrize(
    "builder", [SimpleNamespace(), SimpleNamespace(num_DLA_cores=0), SimpleNamespace(num_DLA_cores=1)]
)
def test_an_accelerator_that_is_not_there_is_told(builder):
    config = Config()
    with pytest.raises(BackendUnavailable, match=r"no accelerator \(DLA\) number 1(.|\n)*leave the accelerator out"):
        list(set_up(library("10.13.3"), builder, config, {"dla_core": 1, "half": True}))
    assert not config.flags


def test_an_accelerator_before_11_takes_fp16_alone():
    with pytest.raises(UserMistake, match="no network of this precision"):
        list(set_up(library("10.3.0"), SimpleNamespace(num_DLA_cores=2), Config(), {"dla_core": 0, "half": False}))
