from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from support.data_files import prepare

from genifer.errors import GeniferError


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize(
    ("evil", "word"),
    [
        ([entry("../../evil.txt", size=4)], "outside"),
        ([entry("/tmp/genifer-evil.txt", size=4)], "outside"),
        ([entry("a", tarfile.SYMTYPE, "/tmp"), entry("a/genifer-evil.txt", size=4)], "is a link"),
        ([entry("a", tarfile.LNKTYPE, "../evil.txt")], "is a link"),
        ([entry("a", tarfile.CHRTYPE)], "is a link or a device"),
        ([entry("a", tarfile.FIFOTYPE)], "is a link or a device"),
        ([entry(f"train/ant/{index}.png", size=4) for index in range(300)], "max_unpacked_gb: 0.001"),
        ([entry("train/ant/1.png", size=2_000_000)], "max_unpacked_gb: 0.001"),
    ],
    ids=["above", "absolute", "symlink", "hardlink", "device", "fifo", "many files", "large file"],
)
def test_archives_that_would_do_harm_are_refused(
    tmp_path: Path, evil: list[tarfile.TarInfo], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "unpacked"))
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        for info in evil:
            tar.addfile(info, io.BytesIO(bytes(info.size)) if info.size else None)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(GeniferError, match=word):
        prepare(
            tmp_path / "out",
            {"dataset": "image_folder", "archive": tmp_path / "evil.tar.gz", "max_unpacked_gb": 0.001},
            {"tasks": [1]},
        )
    assert set(tmp_path.rglob("*")) == before
    assert not Path("/tmp/genifer-evil.txt").exists()
