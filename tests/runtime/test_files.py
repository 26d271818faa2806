"""A file appears whole or not at all, and what was written beside it goes."""

import pytest

from edgesmith.runtime.ground.files import replace_file, replacing


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    place = tmp_path / "table.json"
    place.write_bytes(b"old")
    with replacing(place, mode=0o600, to_disk=True) as file:
        file.write(b"new")
        assert place.read_bytes() == b"old", "the old one stays until the new one is whole"
    assert place.read_bytes() == b"new" and place.stat().st_mode & 0o777 == 0o600
    replace_file(place, b"newer")
    assert place.read_bytes() == b"newer" and place.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize(("hidden", "beside"), [(False, "table.*.part"), (True, ".table.*.part")])
def test_what_goes_wrong_half_way_leaves_the_old_one(tmp_path, error, hidden, beside):
    place = tmp_path / "table.json"
    place.write_bytes(b"old")
    with pytest.raises(type(error)), replacing(place, hidden=hidden) as file:
        file.write(b"half")
        assert len(list(tmp_path.glob(beside))) == 1
        raise error
    assert place.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["table.json"]


def test_a_folder_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(OSError), replacing(tmp_path / "no" / "table.json"):
        pass
