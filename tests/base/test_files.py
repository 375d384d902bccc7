"""Files are written under a hidden name, and checked before the work whose result they are."""

import os

import pytest

from wbsr_base.files import beside, check_place, sweep, write_whole


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "n" * 200])
def test_a_name_of_any_length_that_the_system_allows_is_written(tmp_path, name):
    write_whole(tmp_path / name, "whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "whole"


def test_long_names_that_begin_alike_do_not_meet(tmp_path):
    with beside(tmp_path / ("n" * 250 + "1")) as one, beside(tmp_path / ("n" * 250 + "2")) as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["1", "2"]


def test_what_a_killed_process_left_of_a_long_name_is_swept(tmp_path, monkeypatch):
    with monkeypatch.context() as as_another:
        as_another.setattr(os, "getpid", lambda: 999999999)
        with beside(tmp_path / ("n" * 250)) as part:
            part.write_text("half")
            left = part.rename(tmp_path / "aside")
            part.write_text("whole")
    left.rename(part)
    assert sweep(tmp_path) == [part]


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path, monkeypatch):
    check_place(tmp_path / "new.pth", "--out")
    with pytest.raises(ValueError, match=r"--out .* is a folder: name a file"):
        check_place(tmp_path, "--out")
    with pytest.raises(FileNotFoundError, match=r"the folder .*gone does not exist: make it first"):
        check_place(tmp_path / "gone" / "new.pth", "--out")
    monkeypatch.setattr(os, "access", lambda *_: False)  # for root may write everywhere
    with pytest.raises(PermissionError, match="can't be written to: name another"):
        check_place(tmp_path / "new.pth", "--out")
