"""Version folders on disk."""

import pytest

from tfpt.serving.catalog import version_folders


@pytest.fixture
def base_path(tmp_path):
    for name in ("3", "00000012", "5"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    for name in ("13.tmp-99", "notes", "-14"):
        (tmp_path / name).mkdir()
    (tmp_path / "15").touch()  # a file
    return tmp_path


def test_the_newest_version_is_served_by_default(base_path):
    assert version_folders(base_path) == {12: base_path / "00000012"}


def test_all_versions_are_found_by_number(base_path):
    assert version_folders(base_path, versions="all") == {
        3: base_path / "3",
        5: base_path / "5",
        12: base_path / "00000012",
    }


def test_a_number_that_the_protocol_has_no_room_for_is_passed_over(base_path):
    (base_path / str(1 << 63)).mkdir()
    assert version_folders(base_path) == {12: base_path / "00000012"}


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; give the folder"):
        version_folders(tmp_path / "nowhere")


def test_a_folder_without_versions_is_named(tmp_path):
    (tmp_path / "draft").mkdir()
    with pytest.raises(FileNotFoundError, match="no folder named by a version number"):
        version_folders(tmp_path)


def test_a_version_folder_in_place_of_the_model_folder_is_explained(base_path):
    with pytest.raises(FileNotFoundError, match=f"give the folder above it, {base_path}"):
        version_folders(base_path / "3")


def test_a_saved_model_outside_of_a_version_folder_is_explained(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(FileNotFoundError, match="move it to a version folder"):
        version_folders(tmp_path)


def test_a_version_without_a_saved_model_is_named(base_path):
    (base_path / "00000012" / "saved_model.pb").unlink()
    with pytest.raises(FileNotFoundError, match=r"00000012 holds no saved_model\.pb"):
        version_folders(base_path)


def test_two_folders_of_one_version_are_refused(base_path):
    (base_path / "012").mkdir()
    with pytest.raises(ValueError, match="are both version 12"):
        version_folders(base_path)
