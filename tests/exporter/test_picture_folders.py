"""The pictures that an export is judged by: those below a folder, without what file managers left in it."""

from __future__ import annotations

from pathlib import Path

from edgesmith.exporter.run.pictures import pictures, pictures_left_out


def test_clutter_in_sub_folders_is_passed_over(tmp_path: Path):
    for name in ("a.png", "sub/b.png", "sub/._b.png", "__MACOSX/c.png", "sub/@eaDir/b.png/thumb.png", "sub/Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a picture, not read here")
    assert [picture.path.relative_to(tmp_path).as_posix() for picture in pictures(tmp_path)] == ["a.png", "sub/b.png"]
    assert pictures_left_out(tmp_path) == ()
