"""A data set of one's own: its errors are explained, its archive is found and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.data_files import load, prepare

from genifer.errors import GeniferError

PLUGIN = """\
import numpy as np

from genifer.data import Arrays, Dataset


class Squares(Dataset):
    '''Squares of two sizes.'''

    name = "squares"
    classes = 2
    {attributes}

    @classmethod
    def load(cls, archive, settings):
        images = np.full((6, 1, 8, 8), 200, dtype=np.uint8)
        labels = np.arange(6) % 2
        {body}
        return Arrays(["small", "large"], images, labels, images, labels)
"""
SCENARIO = {"tasks": [1, 1]}


def plugin(folder: Path, body: str = "pass", attributes: str = "pass") -> Path:
    path = folder / "squares.py"
    path.write_text(PLUGIN.format(body=body, attributes=attributes))
    return path


def refusal(folder: Path, file: Path, **data: object) -> str:
    with pytest.raises(GeniferError) as error:
        prepare(folder / "out", {"dataset": "squares", **data}, SCENARIO, [file])
    assert not (folder / "out").exists()
    return str(error.value)


def test_images_are_converted(tmp_path: Path) -> None:
    prepare(tmp_path / "out", {"dataset": "squares", "image_size": 16}, SCENARIO, [plugin(tmp_path)])
    task = load(tmp_path / "out", 1)
    assert task.images.shape == (3, 3, 16, 16)
    assert task.images.unique().tolist() == [200]
    assert task.mean == (0.7843,) * 3


def test_an_exception_names_data_set_file_line_and_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refusal(tmp_path, plugin(Path(), body="images[10]"))
    assert message.startswith("data.dataset: squares (squares.py, line 17) fails: IndexError: index 10 is")
    assert message.endswith("; correct squares.py")


def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "squares.txt").touch()
    file = plugin(
        tmp_path, "archive.read_text()[0]", "archive, archive_format = 'required', 'a text of squares'"
    )
    message = refusal(tmp_path, file, archive=tmp_path / "squares.txt")
    assert f"data.archive: {tmp_path}/squares.txt cannot be read by data set squares (" in message
    assert "IndexError: string index out of range. It must be a text of squares; if it is, correct" in message


def test_an_error_of_its_own_stays_as_it_is(tmp_path: Path) -> None:
    raised = "from genifer.errors import GeniferError; raise GeniferError('data.archive: no squares')"
    assert refusal(tmp_path, plugin(tmp_path, raised)) == "data.archive: no squares"


def test_arrays_that_do_not_fit(tmp_path: Path) -> None:
    message = refusal(tmp_path, plugin(tmp_path, "images = images / 255"))
    assert "data.dataset: squares (" in message
    assert "squares.py): load returned train_images as an array of float64" in message


def test_archive_and_md5(tmp_path: Path) -> None:
    good, other = tmp_path / "good.txt", tmp_path / "other.txt"
    good.write_text("squares")
    other.write_text("circles")
    md5 = hashlib.md5(b"squares").hexdigest()
    file = plugin(
        tmp_path, attributes=f"archive, url, md5 = 'download', 'https://example.org/good.txt?v=1', '{md5}'"
    )
    for data, downloaded in (({}, good), ({"archive": good}, None), ({"archive": good}, other)):
        prepare(tmp_path / "out", {"dataset": "squares", **data}, SCENARIO, [file], downloaded)
    prepare(tmp_path / "out", {"dataset": "squares", "archive": other, "archive_md5": None}, SCENARIO, [file])
    with pytest.raises(GeniferError, match=f"other.txt is corrupt or another file: its MD5 is not {md5}"):
        prepare(tmp_path / "x", {"dataset": "squares"}, SCENARIO, [file], other)
    with pytest.raises(GeniferError, match=r"nowhere does not exist.*or null to download it"):
        prepare(tmp_path / "x", {"dataset": "squares", "archive": tmp_path / "nowhere"}, SCENARIO, [file])
    with pytest.raises(GeniferError, match=r"data.archive is not set; run `genifer download-data` first"):
        prepare(tmp_path / "x", {"dataset": "squares"}, SCENARIO, [file])
