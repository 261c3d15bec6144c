"""Downloads from a server on this machine that behaves well, badly or not at all."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from test_data import FILES, assert_is_tiny, one_line_error, tiny_files, tiny_npz
from test_data import tiny as tiny

from common.data import download
from common.data import load as data
from common.data.originals import ORIGINALS, DataFileError

GOOD = b"the right bytes " * 4096
ROOT = Path(__file__).resolve().parent.parent


class Server:
    """An HTTP server whose `routes` answer; `requests` lists the paths asked for."""

    def __init__(self) -> None:
        self.routes: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                try:
                    server.routes.get(self.path, lambda handler: handler.send_error(404))(self)
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, *arguments: object) -> None:
                """Keep the tests' output clean."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.closing.set()
        self.http.shutdown()
        self.http.server_close()

    def sends(self, path: str, body: bytes, declared: int | None = -1) -> None:
        """Answer `path` with `body`, announced as `declared` bytes (None: not announced)."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            start_answer(handler, len(body) if declared == -1 else declared)
            handler.wfile.write(body)

        self.routes[path] = answer

    def drips(self, path: str, body: bytes, step: int, seconds: float) -> None:
        """Answer `path` with `body`, `step` bytes every `seconds`."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            start_answer(handler, len(body))
            for start in range(0, len(body), step):
                handler.wfile.write(body[start : start + step])
                if self.closing.wait(seconds):
                    return

        self.routes[path] = answer


def start_answer(handler: BaseHTTPRequestHandler, declared: int | None) -> None:
    handler.send_response(200)
    if declared is not None:
        handler.send_header("Content-Length", str(declared))
    handler.end_headers()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


def check(part: Path) -> int:
    """Accept GOOD only."""
    if part.read_bytes() != GOOD:
        raise DataFileError(part, "is not right")
    return len(GOOD)


def names(folder: Path) -> list[str]:
    """What lies in `folder`."""
    return sorted(path.name for path in folder.iterdir())


def fetch(server: Server, place: Path, check: Callable[[Path], object] = check) -> object:
    return download.fetch(f"{server.url}/file", place, len(GOOD), check, quiet=True)


# One file


def test_a_right_file_arrives_under_its_name_only(server, tmp_path):
    server.sends("/file", GOOD)
    place = tmp_path / "new" / "folder" / "file"
    assert fetch(server, place) == len(GOOD)
    assert place.read_bytes() == GOOD
    assert names(place.parent) == ["file"]


def test_it_is_called_a_part_until_it_is_checked(server, tmp_path):
    server.sends("/file", GOOD)
    place, seen = tmp_path / "file", []

    def look(part: Path) -> None:
        seen.append((part.name, place.exists(), part.read_bytes() == GOOD))

    fetch(server, place, look)
    assert seen == [(f".{os.getpid()}-file", False, True)]


def test_redirects_are_followed(server, tmp_path):
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "/moved")
        handler.end_headers()

    server.routes["/file"] = elsewhere
    server.sends("/moved", GOOD)
    assert fetch(server, tmp_path / "file") == len(GOOD)


@pytest.mark.parametrize(
    ("body", "declared", "problem"),
    [
        (GOOD[:1000], len(GOOD), "cut short: 1,000 of 65,536 bytes"),
        (b"", len(GOOD), "cut short: 0 of"),
        (GOOD * 3, len(GOOD) * 3, "more than the expected 131,072 bytes"),
        (GOOD * 3, None, "more than the expected 131,072 bytes"),
        (None, None, "404"),
    ],
)
def test_a_file_that_cannot_be_right_fails_and_leaves_what_was_there(
    server, tmp_path, body, declared, problem
):
    (tmp_path / "file").write_bytes(b"old")
    if body is not None:
        server.sends("/file", body, declared)
    with pytest.raises(download.DownloadError, match=problem):
        fetch(server, tmp_path / "file")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("body", [b"x" + GOOD[1:], GOOD[:-1]])
def test_a_wrong_file_fails_and_leaves_what_was_there(server, tmp_path, body):
    (tmp_path / "file").write_bytes(b"old")
    server.sends("/file", body)
    with pytest.raises(DataFileError, match="is not right"):
        fetch(server, tmp_path / "file")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_short_file_of_unannounced_size_fails_the_check(server, tmp_path):
    server.sends("/file", GOOD[:-1], declared=None)
    with pytest.raises(DataFileError, match="is not right"):
        fetch(server, tmp_path / "file")
    assert names(tmp_path) == []


def test_a_slow_server_that_keeps_sending_is_waited_for(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    server.drips("/file", GOOD, step=4096, seconds=0.03)  # 0.5 s for the whole
    assert fetch(server, tmp_path / "file") == len(GOOD)


def test_silence_in_the_middle_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    server.drips("/file", GOOD, step=1000, seconds=30)
    start = time.monotonic()
    with pytest.raises(download.DownloadError, match="timed out"):
        fetch(server, tmp_path / "file")
    assert time.monotonic() - start < 3
    assert names(tmp_path) == []


@pytest.mark.parametrize("headers", ["none", "dripping"])
def test_a_server_that_never_answers_costs_the_answer_time(server, tmp_path, monkeypatch, headers):
    def say_nothing(handler: BaseHTTPRequestHandler) -> None:
        while headers == "dripping" and not server.closing.wait(0.05):
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n"[:1])
        server.closing.wait(30)

    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.3)
    server.routes["/file"] = say_nothing
    start = time.monotonic()
    with pytest.raises(download.DownloadError, match=r"no answer within 0\.3 s"):
        fetch(server, tmp_path / "file")
    assert time.monotonic() - start < 1.5
    assert names(tmp_path) == []


def test_a_place_that_cannot_be_written_is_an_error(server, tmp_path):
    server.sends("/file", GOOD)
    (tmp_path / "blocked").write_text("a file where a folder is needed")
    with pytest.raises(download.DownloadError, match="blocked"):
        fetch(server, tmp_path / "blocked" / "file")


@pytest.mark.parametrize("moment", ["reading", "checking"])
def test_ctrl_c_leaves_no_partial_file(server, tmp_path, monkeypatch, moment):
    """Nor does a kill while the file arrives: then none is there yet."""

    def interrupt(*arguments: object) -> None:
        assert len(names(tmp_path)) == (moment == "checking")
        raise KeyboardInterrupt

    if moment == "reading":
        monkeypatch.setattr(sys.stderr, "isatty", interrupt, raising=False)
    server.sends("/file", GOOD)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path / "file", interrupt)
    assert names(tmp_path) == []


def test_progress_is_shown_in_a_terminal_only(server, tmp_path, monkeypatch, capsys):
    server.sends("/file", GOOD)
    fetch(server, tmp_path / "file")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fetch(server, tmp_path / "file")
    assert capsys.readouterr().err.endswith("\r100.0% of 0.1 MB\n")


# Whole datasets


def serve_files(server: Server, folder: str, name: str) -> str:
    """The four files of the tiny dataset below `folder`; gives the source."""
    for file, content in tiny_files(name).items():
        server.sends(f"{folder}{file}.gz", gzip.compress(content, 1))
    return server.url + folder


def use(monkeypatch: pytest.MonkeyPatch, name: str, *sources: str) -> None:
    monkeypatch.setitem(ORIGINALS, name, replace(ORIGINALS[name], sources=sources))


def left_over(root: Path) -> list[Path]:
    return list(root.rglob(f".{os.getpid()}-*"))


def test_mnist_is_downloaded_once_into_the_keras_cache(tiny, server, monkeypatch, capsys):
    server.sends("/mnist.npz", tiny_npz())
    use(monkeypatch, "mnist", f"{server.url}/mnist.npz")
    for _ in range(2):
        dataset = data.load("mnist", data="real")
        assert_is_tiny(dataset, "mnist")
        assert dataset.source == str(tiny / "keras" / "datasets" / "mnist.npz")
    assert server.requests == ["/mnist.npz"]
    assert capsys.readouterr().out == f"downloading {server.url}/mnist.npz\n"
    assert not left_over(tiny)


def test_a_quiet_download_prints_nothing(tiny, server, monkeypatch, capsys):
    server.sends("/mnist.npz", tiny_npz())
    use(monkeypatch, "mnist", f"{server.url}/mnist.npz")
    assert_is_tiny(data.load("mnist", data="real", quiet=True), "mnist")
    assert capsys.readouterr().out == ""


def test_fashion_mnist_is_downloaded_to_where_keras_keeps_it(tiny, server, monkeypatch):
    use(monkeypatch, "fashion_mnist", serve_files(server, "/data/", "fashion_mnist"))
    for _ in range(2):
        assert_is_tiny(data.load("fashion_mnist", data="real"), "fashion_mnist")
    assert len(server.requests) == 4
    folder = tiny / "keras" / "datasets" / "fashion-mnist"
    assert names(folder) == sorted(f"{file}.gz" for file in FILES)


@pytest.mark.parametrize("first", ["missing", "wrong", "other dataset's", "truncated"])
def test_the_second_source_serves_when_the_first_does_not(tiny, server, monkeypatch, first):
    if first == "wrong":
        body = bytearray(tiny_npz())
        body[len(body) // 2] ^= 1
        server.sends("/mnist.npz", bytes(body))
    elif first == "other dataset's":
        server.sends("/mnist.npz", tiny_npz("fashion_mnist"))
    elif first == "truncated":
        server.sends("/mnist.npz", tiny_npz()[:9999], declared=len(tiny_npz()))
    use(monkeypatch, "mnist", f"{server.url}/mnist.npz", serve_files(server, "/gz/", "mnist"))
    dataset = data.load("mnist", data="real")
    assert_is_tiny(dataset, "mnist")
    assert dataset.source == str(tiny / "keras" / "datasets" / "mnist")
    assert not (tiny / "keras" / "datasets" / "mnist.npz").exists()
    assert not left_over(tiny)


def test_a_dead_source_is_asked_once_and_the_reasons_are_told(tiny, server, monkeypatch):
    use(monkeypatch, "fashion_mnist", f"{server.url}/one/", f"{server.url}/two/")
    message = one_line_error(name="fashion_mnist", data="real")
    assert message.count("HTTP Error 404") == 2  # a port may hold the digits, too
    assert server.requests == [f"/one/{FILES[0]}.gz", f"/two/{FILES[0]}.gz"]


def test_files_already_there_are_not_asked_for_again(tiny, server, monkeypatch):
    source = serve_files(server, "/data/", "fashion_mnist")
    use(monkeypatch, "fashion_mnist", source)
    good = server.routes.pop(f"/data/{FILES[3]}.gz")
    one_line_error(name="fashion_mnist", data="real")
    server.routes[f"/data/{FILES[3]}.gz"] = good
    server.requests.clear()
    assert_is_tiny(data.load("fashion_mnist", data="real"), "fashion_mnist")
    assert server.requests == [f"/data/{FILES[3]}.gz"]


def test_a_damaged_file_in_the_cache_is_replaced_by_a_good_one(tiny, server, monkeypatch, capsys):
    use(monkeypatch, "fashion_mnist", serve_files(server, "/data/", "fashion_mnist"))
    data.load("fashion_mnist", data="real")
    path = tiny / "keras" / "datasets" / "fashion-mnist" / f"{FILES[2]}.gz"
    path.write_bytes(path.read_bytes()[:2000])
    server.requests.clear()
    assert_is_tiny(data.load("fashion_mnist", data="real"), "fashion_mnist")
    assert server.requests == [f"/data/{FILES[2]}.gz"]
    assert f"warning: not used: {path}" in capsys.readouterr().err
    assert_is_tiny(data.load("fashion_mnist", data="real"), "fashion_mnist")
    assert len(server.requests) == 1


def test_a_damaged_plain_file_in_the_cache_is_outranked_by_the_download(
    tiny, server, monkeypatch, capsys
):
    use(monkeypatch, "fashion_mnist", serve_files(server, "/data/", "fashion_mnist"))
    folder = tiny / "keras" / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for file in FILES:
        (folder / file).write_bytes(b"damaged")
    for warnings in (1, 0):
        assert_is_tiny(data.load("fashion_mnist", data="real"), "fashion_mnist")
        assert capsys.readouterr().err.count("warning") == warnings
    assert len(server.requests) == 4


def test_a_damaged_file_stays_when_no_good_one_can_be_had(tiny, server, monkeypatch, capsys):
    path = tiny / "keras" / "datasets" / "mnist.npz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    server.sends("/mnist.npz", b"another half")
    use(monkeypatch, "mnist", f"{server.url}/mnist.npz")
    assert data.load("mnist").synthetic
    assert path.read_bytes() == b"half a file"
    errors = capsys.readouterr().err
    assert f"warning: not used: {path}" in errors
    assert "THIS IS NOT MNIST" in errors


def test_a_cache_that_cannot_be_written_is_replaced_by_the_temporary_one(tiny, server, monkeypatch):
    (tiny / "keras").write_text("a file where a folder is needed")
    server.sends("/mnist.npz", tiny_npz())
    use(monkeypatch, "mnist", f"{server.url}/mnist.npz")
    source = data.load("mnist", data="real").source
    assert source == str(tiny / "temp" / ".keras" / "datasets" / "mnist.npz")


def raises(error: Exception, seconds: float = 0) -> Callable[..., None]:
    def fail(*arguments: object, **named: object) -> None:
        time.sleep(seconds)
        raise error

    return fail


@pytest.mark.parametrize(
    "network", ["no name server", "a name server that hangs", "refused", "packets dropped"]
)
def test_offline_is_found_out_fast(tiny, monkeypatch, network):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.3)
    # A socket that accepts nothing: connections hang in its queue, as behind a firewall.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if network == "refused":
            silent.close()
        elif network != "packets dropped":
            url = "https://datasets.invalid"
            failure = socket.gaierror(-2, "Name or service not known")
            look_up = raises(failure, 3 if network == "a name server that hangs" else 0)
            monkeypatch.setattr(socket, "getaddrinfo", look_up)
        use(monkeypatch, "mnist", f"{url}/mnist.npz", f"{url}/mnist/")
        start = time.monotonic()
        assert data.load("mnist").synthetic
        assert time.monotonic() - start < 1.5


def test_a_certificate_that_cannot_be_verified_says_what_to_do(tmp_path, monkeypatch):
    failure = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] no local issuer")
    monkeypatch.setattr(urllib.request, "urlopen", raises(urllib.error.URLError(failure)))
    with pytest.raises(download.DownloadError) as caught:
        download.fetch("https://datasets.invalid/file", tmp_path / "file", 1, check, quiet=True)
    assert "CERTIFICATE_VERIFY_FAILED] no local issuer; on macOS run" in str(caught.value)


KILLED = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from common.data import download
download.fetch(sys.argv[2], pathlib.Path(sys.argv[3]), 10**6, lambda part: None)
"""


def test_a_download_killed_halfway_is_not_taken_for_good(tiny, server, monkeypatch):
    cache = tiny / "keras" / "datasets"
    server.drips("/mnist.npz", tiny_npz(), step=9000, seconds=0.5)
    url = f"{server.url}/mnist.npz"
    command = [sys.executable, "-c", KILLED, str(ROOT), url, str(cache / "mnist.npz")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 20
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)  # the first bytes have come, and the next ones not yet
        process.kill()
    assert server.requests and not cache.exists()
    use(monkeypatch, "mnist")
    assert data.load("mnist").synthetic
    server.sends("/mnist.npz", tiny_npz())
    use(monkeypatch, "mnist", url)
    assert_is_tiny(data.load("mnist", data="real"), "mnist")


def test_every_dataset_has_two_sources_the_first_one_encrypted():
    for original in ORIGINALS.values():
        assert len(original.sources) == 2
        assert original.sources[0].startswith("https://")
