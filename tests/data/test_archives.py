from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.data_files import pack, prepare

from genifer.data.archives import Archive
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


def zip_entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("evil", "word"),
    [
        ({"../../evil.txt": (0, 4)}, "outside"),
        ({"/tmp/genifer-evil.txt": (0, 4)}, "outside"),
        ({"a": (stat.S_IFLNK | 0o777, 4)}, "is a link"),
        ({"a": (stat.S_IFCHR, 4)}, "is a link or a device"),
        ({f"train/ant/{index}.png": (0, 4) for index in range(300)}, "max_unpacked_gb: 0.001"),
        ({"train/ant/1.png": (0, 2_000_000)}, "max_unpacked_gb: 0.001"),
    ],
    ids=["above", "absolute", "symlink", "device", "many files", "large file"],
)
def test_zip_archives_that_would_do_harm_are_refused(
    tmp_path: Path, evil: dict[str, tuple[int, int]], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "unpacked"))
    with zipfile.ZipFile(tmp_path / "evil.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (mode, size) in evil.items():
            archive.writestr(zip_entry(name, mode), bytes(size), zipfile.ZIP_DEFLATED)
    before = set(tmp_path.rglob("*"))
    data = {"dataset": "image_folder", "archive": tmp_path / "evil.zip", "max_unpacked_gb": 0.001}
    with pytest.raises(GeniferError, match=word):
        prepare(tmp_path / "out", data, {"tasks": [1]})
    assert set(tmp_path.rglob("*")) == before
    assert not Path("/tmp/genifer-evil.txt").exists()


def test_a_zip_entry_that_holds_more_than_it_says_is_refused(tmp_path: Path) -> None:
    """Its size in the archive's directory is what counts against the limit, so no more may come out of it."""
    pack(tmp_path / "a.zip", {"a.txt": bytes(5000)})
    content = (tmp_path / "a.zip").read_bytes()
    size = (5000).to_bytes(4, "little")
    assert content.count(size) == 4  # packed and unpacked, in the entry and in the directory
    at = content.rindex(size)
    (tmp_path / "a.zip").write_bytes(content[:at] + (7).to_bytes(4, "little") + content[at + 4 :])
    with (
        pytest.raises(GeniferError, match="is not a readable tar or zip archive"),
        Archive(tmp_path / "a.zip", 1.0) as archive,
    ):
        archive.unpack(tmp_path / "out")
    assert (tmp_path / "out" / "a.txt").stat().st_size <= 7


@pytest.mark.parametrize("damage", ["truncated", "changed", "encrypted", "compression"])
def test_damaged_zip_archives_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.zip"
    pack(path, {"train/ant/a.txt": bytes(range(256)) * 20})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    match damage:
        case "truncated":
            content = content[:-30]
        case "changed":
            content[1000] ^= 1
        case "encrypted":
            content[directory + 8] |= 1
        case "compression":
            content[directory + 10] = 97
    path.write_bytes(content)
    with (
        pytest.raises(
            GeniferError, match=r"a\.zip is (not a readable tar or zip archive|refused: .* is encrypted)"
        ),
        Archive(path, 1.0) as archive,
    ):
        archive.unpack(tmp_path / "out")
