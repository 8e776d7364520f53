"""Downloads, from a server on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision
from support.in_process import files_no_larger_than

from genifer.data.download import Digest, download, download_weights
from genifer.errors import GeniferError
from genifer.nn.torchvision_weights import URLS, sha256_start

CONTENT = bytes(range(256)) * 400
MD5 = Digest("md5", hashlib.md5(CONTENT).hexdigest())


class Server(ThreadingHTTPServer):
    """Serves CONTENT, and breaks off the first answers after the given numbers of bytes."""

    break_after: list[int]
    ranges: list[str | None]
    content = CONTENT


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted and start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after.pop(0)] if self.server.break_after else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.break_after, server.ranges = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/archive.tar.gz"


def test_download(server: Server, tmp_path: Path) -> None:
    download(url(server), tmp_path / "deep" / "a.tar.gz", MD5)
    assert (tmp_path / "deep" / "a.tar.gz").read_bytes() == CONTENT


def test_it_resumes_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = [1000, 500]
    target = tmp_path / "a.tar.gz"
    for _ in range(2):
        with pytest.raises(GeniferError, match="bytes are kept"):
            download(url(server), target, MD5)
        assert not target.exists()
    download(url(server), target, MD5)
    assert target.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_complete_part_is_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.tar.gz.part").write_bytes(CONTENT)
    download(url(server), tmp_path / "a.tar.gz", MD5)
    assert (tmp_path / "a.tar.gz").read_bytes() == CONTENT


def test_a_corrupt_file_is_deleted(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(GeniferError, match="corrupt"):
        download(url(server), tmp_path / "a.tar.gz", MD5)
    assert list(tmp_path.iterdir()) == []


def test_the_first_digits_of_a_digest(server: Server, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    download(url(server), tmp_path / "a.pth", Digest("sha256", sha256[:8]))
    with pytest.raises(GeniferError, match=r"its SHA256 is not 00000000.*was deleted"):
        download(url(server), tmp_path / "b.pth", Digest("sha256", "00000000"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50"])
def test_weights_without_a_network(
    architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert torchvision.models.get_model_weights(architecture).IMAGENET1K_V1.url == URLS[architecture]
    assert sha256_start(architecture) in URLS[architecture]
    assert len(sha256_start(architecture)) == 8
    monkeypatch.setitem(URLS, architecture, f"http://127.0.0.1:9/{architecture}-01234567.pth")
    with pytest.raises(GeniferError, match=r"download failed.*set classifier\.pretrained to its path"):
        download_weights(architecture, tmp_path / "weights.pth")
    with pytest.raises(
        GeniferError, match="'resnet9' has no ImageNet weights; there are: resnet18, resnet34"
    ):
        download_weights("resnet9", tmp_path / "weights.pth")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_arrived(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.tar.gz"
    with (
        files_no_larger_than(5000),
        pytest.raises(GeniferError, match=r"download failed.*5,000 bytes are kept"),
    ):
        download(url(server), target, MD5)
    assert not target.exists()
    download(url(server), target, MD5)
    assert target.read_bytes() == CONTENT


def test_no_network_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(GeniferError, match=r"download failed.*data\.archive"):
        download("http://127.0.0.1:9/archive.tar.gz", tmp_path / "a.tar.gz", MD5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["archive.tar.gz", "http://[bad", "htp://127.0.0.1/archive.tar.gz"])
def test_an_impossible_url_is_one_message(tmp_path: Path, url: str) -> None:
    with pytest.raises(GeniferError, match="download failed"):
        download(url, tmp_path / "a.tar.gz", None)
