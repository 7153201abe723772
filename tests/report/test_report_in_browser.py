"""The report as a reader opens it: in a real Chromium, offline, by mouse and by keyboard, on a desktop and a phone."""

import itertools
import re

import pytest

THEMES = ("light", "dark")


def unfold(page):
    page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")


def signed(value):
    """As the page writes it, with a true minus."""
    return f"{value:+.2f}".replace("-", "−")


def test_it_opens_without_an_error_and_asks_for_nothing(opened, made_report):
    page = opened()
    assert page.locator("h1").inner_text() == "rvm-bench report"
    text = made_report[1].read_text()
    # Besides namespaces of SVG, which are names and are not fetched, no address is in the file.
    assert set(re.findall(r"https?://[^\"'\s<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert len(text) < 10_000_000


def test_the_policy_of_the_page_keeps_other_scripts_and_addresses_out(chromium, made_report):
    page = chromium.new_page()
    page.on("console", lambda message: refused.append(message.text))
    refused = []
    page.goto(made_report[1].as_uri())
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"http://127.0.0.1:9/x.png\">')")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran") is None
    assert len([line for line in refused if "Content Security Policy" in line]) == 2
    page.close()


@pytest.mark.parametrize("scheme", THEMES)
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing(opened, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = opened(width, scheme=scheme, bypass_csp=True)
    unfold(page)
    found = axe.run(page, options={"resultTypes": ["violations"]})
    told = [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]
    assert told == []


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_the_page_never_scrolls_sideways_only_marked_regions_do(opened, width):
    page = opened(width)
    unfold(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 1"
        " && /auto|scroll/.test(getComputedStyle(e).overflowX)).map(e => [e.className, e.tabIndex, e.role])"
    )
    assert all("scrolls" in name and (tab, role) == (0, "region") for name, tab, role in wide)


def test_every_picture_has_words_and_every_control_a_name(opened):
    page = opened()
    unfold(page)
    assert page.evaluate("[...document.images].every(i => i.alt && i.naturalWidth > 0)")
    assert page.evaluate("document.images.length") >= 6
    named = (
        "[...document.querySelectorAll('svg[role=img]')].every(s => s.getAttribute('aria-labelledby').split(' ')"
        + (".every(id => document.getElementById(id).textContent.trim()))")
    )
    assert page.evaluate(named)
    assert page.evaluate("[...document.querySelectorAll('input, select')].every(c => c.labels.length > 0)")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1])")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_the_button_overrides_the_colours_of_the_system(opened):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page, dark = opened(), opened(scheme="dark")
    light_ground, dark_ground = page.evaluate(ground), dark.evaluate(ground)
    assert light_ground != dark_ground
    page.get_by_role("button", name="Dark colours").press("Enter")
    assert page.evaluate(ground) == dark_ground
    page.get_by_role("button", name="Light colours").click()
    assert page.evaluate(ground) == light_ground
    dark.get_by_role("button", name="Light colours").click()
    assert dark.evaluate(ground) == light_ground


def test_arrow_keys_go_through_the_frames(opened):
    page = opened()
    figure = page.locator("#worst figure").first
    slider, image = figure.get_by_role("slider"), figure.locator("img")
    before = figure.locator("output").inner_text()

    def shift():
        return figure.locator(".stage").bounding_box()["y"] - image.bounding_box()["y"]

    assert shift() == pytest.approx(0, abs=0.5)
    assert before.startswith("frame 0 of ")
    assert "not scored" in before
    slider.focus()
    page.keyboard.press("ArrowRight")
    after = figure.locator("output").inner_text()
    assert re.fullmatch(r"frame [1-4] of \d: J&F [\d.]+ % .*", after)
    assert slider.get_attribute("aria-valuetext") == after
    frame = figure.locator(".stage").bounding_box()["height"]
    assert shift() == pytest.approx(frame, abs=1)
    page.keyboard.press("Home")
    assert shift() == pytest.approx(0, abs=0.5)


def test_one_slider_moves_the_features_of_all_models(opened):
    page = opened()
    figure = page.locator("#features figure")
    assert figure.locator("img").count() == 3
    figure.get_by_role("slider").fill("2")
    moved = figure.locator("img").evaluate_all(
        "images => images.map(i => new DOMMatrix(getComputedStyle(i).transform).f)"
    )
    assert all(y < -50 for y in moved)


def test_the_scatter_plot_follows_the_choices(opened, made_report):
    page = opened()
    (pair,) = made_report[0].scatter["davis"]["pairs"]
    told = page.locator("#difference").inner_text()
    assert told.startswith(f"pixels less rvm-tiny: {signed(pair['difference'])} % on 3 videos")
    assert "95 % interval" in told
    assert page.locator("#points circle").count() == 3
    page.get_by_label("Model A").select_option("rvm-tiny")
    assert "same model" in page.locator("#difference").inner_text()
    page.get_by_label("Model B").select_option("pixels")
    turned = f"rvm-tiny less pixels: {signed(-pair['difference'])} %"
    assert page.locator("#difference").inner_text().startswith(turned)
    first = page.locator("#one").inner_text()
    page.get_by_role("slider", name="Video").press("ArrowRight")
    second = page.locator("#one").inner_text()
    assert first.split(":")[0] != second.split(":")[0]
    assert page.locator("#points circle.chosen").count() == 1
    page.locator("#numbers summary").click()
    assert page.locator("#numbers tbody tr").count() == 3


def test_a_number_leads_to_its_stamp(opened):
    page = opened()
    link = page.locator("table.scores td a").first
    target = page.locator(link.get_attribute("href"))
    assert not target.is_visible()
    link.focus()
    page.keyboard.press("Enter")
    target.wait_for(state="visible")
    assert "J&F" in target.inner_text()
    assert page.evaluate("document.activeElement.id") == target.get_attribute("id")


def test_hostile_names_are_shown_and_not_run(opened):
    page = opened()
    assert page.get_by_role("rowheader", name="onerror").count() == 1
    assert page.locator("img[src=x]").count() == 0


def test_without_scripts_the_page_is_read_all_the_same(opened):
    page = opened(java_script_enabled=False)
    assert page.locator("table.scores").first.is_visible()
    assert page.get_by_text("scripts are off").is_visible()
    assert not page.locator("#theme").is_visible()
    assert page.locator("#worst img").first.is_visible()


def test_the_keyboard_reaches_the_content_first(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
