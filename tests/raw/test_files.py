import pytest

from rawzoo.files import atomic_path


def test_appears_only_when_done(tmp_path):
    final = tmp_path / "out.dng"
    with atomic_path(final) as aside:
        assert aside.parent == tmp_path
        aside.write_bytes(b"new")
        assert not final.exists()
    assert final.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [final]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    final = tmp_path / "out.dng"
    final.write_bytes(b"old")

    def fail():
        with atomic_path(final) as aside:
            aside.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert final.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [final]


def test_long_names_fit(tmp_path):
    final = tmp_path / ("n" * 250 + ".dng")
    with atomic_path(final) as aside:
        aside.write_bytes(b"x")
    assert final.exists()
