"""Fetching checkpoints: resumed where it stopped, refused where it is not the right file."""

import hashlib
import http.server
import threading

import pytest

from rvm_bench.api.card import EncoderCard, WeightsFile
from rvm_bench.errors import UserError
from rvm_bench.fetch.weights import cache_folder, cached_file, fetch, info

CONTENT = bytes(range(256)) * 4000


class Server(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; `cut` ends the first answers early, as a lost connection does."""

    cut = 0
    resumes = True
    requests: tuple = ()

    def do_GET(self):
        cls = type(self)
        cls.requests += (self.headers.get("Range"),)
        start = 0
        if self.headers.get("Range") and cls.resumes and self.headers.get("If-Range", '"v1"') == '"v1"':
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"v1"')
        self.end_headers()
        if cls.cut:
            body, cls.cut = body[: cls.cut], 0
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Keeps the test's output clean."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("RVM_BENCH_CACHE", str(tmp_path / "cache"))
    handler = type("Handler", (Server,), {})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{httpd.server_port}/model.npz"
        yield handler
        httpd.shutdown()


def card(server, **changes):
    facts = {"url": server.url, "filename": "model.npz", "size_bytes": len(CONTENT), "licence": "CC-BY-4.0"}
    return EncoderCard(name="m", family="m", patch=16, width=8, weights=WeightsFile(**(facts | changes)))


def test_a_fetched_file_is_in_the_cache_with_its_hash_recorded(server):
    path = fetch(card(server))
    assert path.read_bytes() == CONTENT
    assert cached_file(card(server)) == path
    assert info(card(server))["recorded sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert sorted(path.name for path in cache_folder().glob("[!.]*")) == ["model.npz", "model.npz.json"]


def test_a_broken_download_goes_on_where_it_stopped(server):
    server.cut = 300_000
    with pytest.raises(UserError, match="fetch again to go on"):
        fetch(card(server))
    kept = (cache_folder() / "model.npz.part").stat().st_size
    assert 0 < kept <= 300_000
    assert fetch(card(server)).read_bytes() == CONTENT
    assert server.requests == (None, f"bytes={kept}-")


def test_a_server_that_does_not_resume_sends_everything_again(server):
    server.cut, server.resumes = 1000, False
    with pytest.raises(UserError):
        fetch(card(server))
    assert fetch(card(server)).read_bytes() == CONTENT


def test_a_part_of_an_older_version_is_not_continued(server):
    server.cut = 300_000
    with pytest.raises(UserError):
        fetch(card(server))
    (cache_folder() / "model.npz.part.version").write_text('"v0"')
    assert fetch(card(server)).read_bytes() == CONTENT


def test_a_file_already_there_is_verified_and_not_downloaded(server):
    fetch(card(server))
    fetch(card(server))
    assert len(server.requests) == 1


def test_a_file_of_the_wrong_size_is_refused(server):
    with pytest.raises(UserError, match=r"has 1024000 bytes, expected 999"):
        fetch(card(server, size_bytes=999, size_exact=True))
    with pytest.raises(UserError, match="expected about 2048000"):
        fetch(card(server, size_bytes=2 * len(CONTENT)))
    assert not (cache_folder() / "model.npz").exists()
    assert (cache_folder() / "model.npz.unexpected").read_bytes() == CONTENT


def test_another_hash_than_the_published_one_is_refused(server):
    with pytest.raises(UserError, match="published"):
        fetch(card(server, sha256="0" * 64))
    assert not (cache_folder() / "model.npz").exists()


def test_a_file_that_changed_since_the_first_download_is_refused(server):
    path = fetch(card(server))
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(UserError, match=r"recorded in .*model\.npz\.json"):
        fetch(card(server))


def test_no_server_is_one_line_with_the_address(server):
    nowhere = card(server, url="http://127.0.0.1:9/model.npz")
    with pytest.raises(UserError, match=r"cannot download http://127\.0\.0\.1:9/model\.npz: ConnectionError"):
        fetch(nowhere)


def test_weights_that_are_not_there_say_how_to_get_them(server):
    with pytest.raises(UserError, match="rvm-bench weights fetch m"):
        cached_file(card(server))
    without = EncoderCard(name="m", family="m", patch=16, width=8)
    with pytest.raises(UserError, match="no released checkpoint"):
        fetch(without)


def packaged(monkeypatch, folder, content=CONTENT):
    """The card of a model whose file comes with the package, which for once is `folder`."""
    monkeypatch.setattr("rvm_bench.fetch.weights.files", lambda _: folder)
    if content is not None:
        (folder / "small.npz").write_bytes(content)
    file = WeightsFile(
        filename="small.npz",
        packaged=True,
        size_bytes=len(CONTENT),
        size_exact=True,
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        licence="Apache-2.0",
    )
    return EncoderCard(name="m", family="m", patch=16, width=8, weights=file)


def test_a_file_that_comes_with_the_package_is_there_without_a_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RVM_BENCH_CACHE", str(tmp_path / "cache"))
    ours = packaged(monkeypatch, tmp_path)
    assert fetch(ours) == cached_file(ours) == tmp_path / "small.npz"
    assert [file.name for file in tmp_path.iterdir()] == ["small.npz"]
    facts = info(ours)
    assert facts["file"] == f"comes with rvm-bench: {tmp_path / 'small.npz'}"
    assert not facts.keys() & {"url", "cached", "by hand", "recorded sha256"}


@pytest.mark.parametrize("content", [None, CONTENT[:-1], b"x" + CONTENT[1:]])
def test_a_packaged_file_that_is_gone_or_damaged_is_refused_and_kept(monkeypatch, tmp_path, content):
    ours = packaged(monkeypatch, tmp_path, content)
    with pytest.raises(UserError, match="comes with rvm-bench: install that again"):
        fetch(ours)
    assert (tmp_path / "small.npz").exists() == (content is not None)
