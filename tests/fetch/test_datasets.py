"""Preparing data: whole or not there, nothing trusted, nothing overwritten, nothing without the licence."""

import hashlib
import http.server
import io
import json
import stat
import sys
import threading
import zipfile
from collections import namedtuple
from pathlib import Path

import filelock
import pytest
from PIL import Image

from propagation.tasks.vip import VipTask
from rvm_bench.api.registry import find_task
from rvm_bench.api.task import DataSource
from rvm_bench.errors import UserError
from rvm_bench.fetch.datasets import prepare, source_of

SPLIT = "lists/val_videos.txt"


def image(suffix):
    buffer = io.BytesIO()
    Image.new("RGB" if suffix == "jpg" else "L", (32, 24)).save(buffer, {"jpg": "JPEG", "png": "PNG"}[suffix])
    return buffer.getvalue()


def official(videos=50):
    """A small copy of VIP as an archive holds it: name -> content."""
    names = [f"videos{i + 1}" for i in range(videos)]
    files = {f"VIP/{SPLIT}": "\n".join(names).encode()}
    for name in names:
        files[f"VIP/Images/{name}/000000000001.jpg"] = image("jpg")
        files[f"VIP/Annotations/Category_ids/{name}/000000000001.png"] = image("png")
    return files


def packed(files):
    """A zip of name -> content, where a name may be a ZipInfo."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content` with ranges; `cut` ends the first answer early, as a lost connection does."""

    content = b""
    cut = 0
    requests: tuple = ()

    def do_GET(self):
        cls = type(self)
        cls.requests += (self.headers.get("Range"),)
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        body = cls.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(cls.content).hexdigest()[:8]}"')
        self.end_headers()
        if cls.cut:
            body, cls.cut = body[: cls.cut], 0
        self.wfile.write(body)

    def log_message(self, *arguments):
        """Keeps the test's output clean."""


@pytest.fixture
def server(monkeypatch):
    handler = type("Handler", (Server,), {"content": packed(official())})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        point_to(monkeypatch, f"http://127.0.0.1:{httpd.server_port}/VIP.zip")
        yield handler
        httpd.shutdown()


def point_to(monkeypatch, url):
    """Has the task's data come from another place."""
    source = DataSource(url=url, archive="VIP.zip", homepage="https://home.example", licence="be kind", inside="VIP")
    monkeypatch.setattr(VipTask, "source", source)


@pytest.fixture
def prepare_vip(cli, monkeypatch):
    """Calls `data prepare vip`, on a terminal where an answer is given: (exit code, output, standard error)."""

    def call(*arguments, answer=None):
        stdin = io.StringIO(answer or "")
        stdin.isatty = lambda: answer is not None
        monkeypatch.setattr(sys, "stdin", stdin)
        return cli("data", "prepare", "vip", "--out", "data", *arguments)

    return call


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_prepared_data_is_the_official_layout_checked(prepare_vip, server, tmp_path):
    code, out, err = prepare_vip("--accept-licence")
    assert (code, err) == (0, "")
    assert "licence: be kind" in out
    assert "data/VIP: complete" in out
    assert {f"VIP/{name}": content for name, content in contents(tmp_path / "data/VIP").items()} == official()
    assert visible(tmp_path / "data") == ["VIP", "VIP.zip", "VIP.zip.json"]
    record = json.loads((tmp_path / "data/VIP.zip.json").read_text())
    assert record["sha256"] == hashlib.sha256(server.content).hexdigest()
    assert record["size"] == len(server.content)


def test_what_is_wrong_with_the_data_is_told_after_unpacking(prepare_vip, server, tmp_path):
    server.content = packed(official(videos=3))
    code, out, _ = prepare_vip("--accept-licence")
    assert code == 1
    assert "names 3 videos, the official split has 50" in out


def test_without_agreement_nothing_is_downloaded(prepare_vip, server, tmp_path):
    code, out, err = prepare_vip()
    assert code == 2
    assert "be kind" in out
    assert "--accept-licence" in err
    assert err.count("\n") == 1
    code, _, err = prepare_vip(answer="n\n")
    assert code == 2
    assert "not agreed" in err
    assert server.requests == ()
    assert not (tmp_path / "data").exists()


def test_on_a_terminal_a_yes_is_an_agreement(prepare_vip, server, tmp_path):
    code, out, _ = prepare_vip(answer="y\n")
    assert code == 0
    assert "Do you agree" in out
    assert (tmp_path / "data/VIP" / SPLIT).exists()


def test_an_existing_copy_is_left_as_it_is_and_checked(prepare_vip, server, tmp_path):
    prepare_vip("--accept-licence")
    lost = tmp_path / "data/VIP/Images/videos9/000000000001.jpg"
    lost.unlink()
    code, out, _ = prepare_vip()
    assert code == 1
    assert "data/VIP is there already and is left as it is" in out
    assert "videos9: data/VIP/Images/videos9 is missing or empty" in out
    assert len(server.requests) == 1
    with pytest.raises(UserError, match="not overwritten"):
        prepare(VipTask(), tmp_path / "data")


def test_a_broken_download_goes_on_where_it_stopped(prepare_vip, server, tmp_path):
    server.content = packed(official() | {"other.bin": bytes(1 << 20)})
    server.cut = 300_000
    code, _, err = prepare_vip("--accept-licence")
    assert code == 2
    assert "run the same command again to go on" in err
    assert err.count("\n") == 1
    kept = (tmp_path / "data/VIP.zip.part").stat().st_size
    assert 0 < kept <= 300_000
    assert prepare_vip("--accept-licence")[0] == 0
    assert server.requests == (None, f"bytes={kept}-")


def test_an_archive_put_there_by_hand_is_used(prepare_vip, server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/VIP.zip").write_bytes(server.content)
    assert prepare_vip("--accept-licence")[0] == 0
    assert server.requests == ()


def test_an_archive_that_changed_since_the_first_download_is_refused(prepare_vip, server, tmp_path):
    prepare_vip("--accept-licence")
    (tmp_path / "data/VIP").rename(tmp_path / "moved")
    (tmp_path / "data/VIP.zip").write_bytes(packed(official(videos=2)))
    code, _, err = prepare_vip("--accept-licence")
    assert code == 2
    assert "VIP.zip has sha256" in err
    assert not (tmp_path / "data/VIP").exists()


def test_offline_says_where_to_get_the_data_and_where_to_put_it(prepare_vip, monkeypatch):
    point_to(monkeypatch, "http://127.0.0.1:9/VIP.zip")
    code, _, err = prepare_vip("--accept-licence")
    assert code == 2
    assert err.count("\n") == 1
    for part in ("cannot download", "ConnectionError", "https://home.example", "data/VIP.zip", "data/VIP\n"):
        assert part in err


@pytest.mark.parametrize(
    ("free", "message"), [(10, "needs 0.00 GB in data"), (1 << 40, None)], ids=["a full disk", "an empty one"]
)
def test_a_disk_that_is_too_small_is_told_before_downloading(prepare_vip, server, tmp_path, monkeypatch, free, message):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr("rvm_bench.fetch.download.shutil.disk_usage", lambda folder: usage(1 << 40, 0, free))
    code, _, err = prepare_vip("--accept-licence")
    assert code == (2 if message else 0)
    if message:
        assert message in err
        assert not (tmp_path / "data/VIP.zip.part").exists()


def test_a_disk_that_fills_up_before_unpacking_is_told(prepare_vip, server, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/VIP.zip").write_bytes(server.content)
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr("rvm_bench.fetch.download.shutil.disk_usage", lambda folder: usage(1 << 40, 0, 1000))
    code, _, err = prepare_vip("--accept-licence")
    assert code == 2
    assert "unpacking VIP.zip needs" in err
    assert visible(tmp_path / "data") == ["VIP.zip", "VIP.zip.json"]


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return {info: target}


HOSTILE = {
    "a path upwards": ({"VIP/../../evil.txt": b"x"}, "points outside"),
    "an absolute path": ({"/tmp/evil.txt": b"x"}, "points outside"),
    "a path upwards elsewhere": ({"other/../../evil.txt": b"x"}, "points outside"),
    "a path for windows": ({"VIP\\..\\..\\evil.txt": b"x"}, "points outside"),
    "a link": (link("VIP/Images/videos1/link.jpg", "/etc/passwd"), "no plain file"),
    "a linked folder": (link("VIP/lists/sub", ".."), "no plain file"),
    "a file twice": ({f"VIP/./{SPLIT}": b"x"}, "twice"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_archive_that_reaches_outside_is_refused_whole(prepare_vip, server, tmp_path, kind):
    files, message = HOSTILE[kind]
    server.content = packed(official(videos=1) | files)
    code, _, err = prepare_vip("--accept-licence")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert visible(tmp_path / "data") == ["VIP.zip", "VIP.zip.json"]
    assert not list(tmp_path.rglob("evil*"))
    assert not Path("/tmp/evil.txt").exists()


def damaged(content):
    """The same archive with a byte of the last image changed."""
    at = content.rindex(b"IEND")
    return content[: at - 20] + bytes([content[at - 20] ^ 255]) + content[at - 19 :]


@pytest.mark.parametrize("harm", [damaged, lambda content: content[:5000], lambda content: b"<html>sorry</html>"])
def test_a_damaged_archive_leaves_no_half_copy(prepare_vip, server, tmp_path, harm):
    server.content = harm(server.content)
    code, _, err = prepare_vip("--accept-licence")
    assert code == 2
    assert "VIP.zip is damaged" in err
    assert err.count("\n") == 1
    assert visible(tmp_path / "data") == ["VIP.zip", "VIP.zip.json"]


def test_an_archive_of_something_else_is_told(prepare_vip, server, tmp_path):
    server.content = packed({"VIP": b"x", "VIP_Fine/lists/val_videos.txt": b"x", "readme.txt": b"x"})
    code, _, err = prepare_vip("--accept-licence")
    assert code == 2
    assert "holds VIP, VIP_Fine, readme.txt, expected a folder VIP" in err


def test_what_archivers_leave_and_what_a_kill_left_is_not_in_the_copy(prepare_vip, server, tmp_path):
    server.content = packed(
        official() | {"__MACOSX/VIP/._lists": b"x", "VIP/.DS_Store": b"x", "VIP/Images/": b"", "other/file": b"x"}
    )
    left = tmp_path / "data/.VIP.unfinished/Images"
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"x")
    assert prepare_vip("--accept-licence")[0] == 0
    assert {f"VIP/{name}" for name in contents(tmp_path / "data/VIP")} == official().keys()
    assert visible(tmp_path / "data") == ["VIP", "VIP.zip", "VIP.zip.json"]


def test_two_processes_do_not_prepare_the_same_folder(server, tmp_path):
    with filelock.FileLock(tmp_path / ".VIP.zip.lock"), pytest.raises(UserError, match="another process"):
        prepare(VipTask(), tmp_path)
    assert server.requests == ()


def test_a_task_without_a_source_says_so(monkeypatch):
    monkeypatch.setattr(VipTask, "source", None)
    with pytest.raises(UserError, match="rvm-bench data check vip"):
        source_of(VipTask())


@pytest.mark.parametrize("name", ["davis", "jhmdb", "vip"])
def test_every_source_is_a_zip_over_https_with_its_terms(name):
    source = source_of(find_task(name))
    assert source.url.startswith("https://")
    assert source.url.endswith("/" + source.archive)
    assert source.homepage.startswith("http")
    assert len(source.licence) > 50
