"""Pictures of a report for docs/report.md by a headless Chromium: its top on a desktop, a video on a phone in the dark.

python tests/report/screenshots.py report.html docs
"""

import sys
from pathlib import Path

from browser import FLAGS, find_chromium
from playwright.sync_api import sync_playwright

FILE, FOLDER = Path(sys.argv[1]).resolve(), Path(sys.argv[2])

with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
    desktop = browser.new_page(viewport={"width": 1280, "height": 1900})
    desktop.goto(FILE.as_uri())
    desktop.screenshot(path=FOLDER / "report-desktop.png")

    phone = browser.new_page(
        viewport={"width": 390, "height": 844}, color_scheme="dark", reduced_motion="reduce", device_scale_factor=1.5
    )
    phone.goto(FILE.as_uri())
    davis = phone.locator("#worst details", has=phone.locator("summary", has_text="davis,"))
    davis.evaluate("folded => folded.open = true")
    davis.locator("input[type=range]").first.fill("6")
    davis.evaluate("it => it.scrollIntoView()")
    phone.wait_for_timeout(300)
    phone.screenshot(path=FOLDER / "report-phone.png")
    browser.close()
