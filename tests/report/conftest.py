"""A small report, made once, and a headless Chromium that opens it."""

import logging

import pytest
from browser import FLAGS, find_chromium
from made_runs import make_runs

from rvm_bench.cli.report import gathered
from rvm_bench.report.contents import read_contents
from rvm_bench.report.page import write_report
from rvm_bench.report.pictures import Sources


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory):
    return make_runs(tmp_path_factory.mktemp("made"))


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture(scope="session")
def made_report(made_runs):
    """(the report, the file, what was logged while it was made)."""
    handler = Lines()
    logging.getLogger("rvm_bench.report").addHandler(handler)
    contents = read_contents(made_runs)
    report = gathered(contents, sources=Sources(device="cpu"), worst=10, frames=3)
    logging.getLogger("rvm_bench.report").removeHandler(handler)
    file = made_runs.parent / "report.html"
    write_report(report, file)
    return report, file, handler.lines


@pytest.fixture(scope="session")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright (extra dev)")
    found = find_chromium()
    if found is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium, made_report):
    """Opens the report; a test that ends with an error on the console, or a request for another file, fails."""
    pages, wrong = [], []

    def open_page(width=1280, height=900, scheme="light", file=made_report[1], **context):
        page = chromium.new_page(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **context
        )
        pages.append(page)
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        address = file.as_uri()
        page.on(
            "request", lambda r: r.url == address or r.url.startswith("data:") or wrong.append(f"asked for {r.url}")
        )
        page.goto(address)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert wrong == []
