"""Report pages on wide and narrow screens, in light and dark: nothing is cut, everything can be read."""

import io
import shutil
from itertools import pairwise

import numpy as np
import pytest
from browser import accessibility_faults, open_browser
from PIL import Image
from studies import Large, pair, write_report

from orbitune.study.report_files import report

pytestmark = pytest.mark.browser

OVERFLOWING = """() => [...document.querySelectorAll('main *')].filter(each => {
    const box = each.getBoundingClientRect();
    const scrolls = each.parentElement.closest('.scroll, .panel, pre, nav');
    return box.width && !scrolls && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(each => each.outerHTML.slice(0, 80))"""

FAINT = """() => {
    const light = rgb => {
        const [r, g, b] = rgb.match(/[\\d.]+/g).slice(0, 3).map(value => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = each => {
        for (let node = each; node; node = node.parentElement) {
            const colour = getComputedStyle(node).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const faint = [];
    while (texts.nextNode()) {
        const each = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || each.closest('svg')) continue;
        const [low, high] = [getComputedStyle(each).color, ground(each)].map(light).sort((a, b) => a - b);
        if ((high + 0.05) / (low + 0.05) < 4.5) faint.push(texts.currentNode.data.trim().slice(0, 60));
    }
    return faint;
}"""


# Rotated names may touch with their boxes and not with their letters.
OVERLAPPING = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
    const texts = [...svg.querySelectorAll('text')].filter(each =>
        each.textContent.trim() && !/rotate\\(-?40/.test(each.getAttribute('transform') || ''));
    const boxes = texts.map(each => each.getBoundingClientRect());
    const room = 1;
    return boxes.flatMap((one, i) => boxes.slice(i + 1).flatMap((other, j) =>
        one.right - room > other.left && other.right - room > one.left &&
        one.bottom - room > other.top && other.bottom - room > one.top
            ? [`${texts[i].textContent} | ${texts[i + 1 + j].textContent}`] : []));
})"""


# The smallest letters of a figure, in CSS pixels as they are shown.
SMALLEST = """panel => Math.min(...[...panel.querySelectorAll('text')].map(each =>
    parseFloat(getComputedStyle(each).fontSize) * each.ownerSVGElement.getScreenCTM().a))"""


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """A report of a run."""
    copied = shutil.copytree(run, tmp_path_factory.mktemp("trained") / "run")
    return report(copied)[0].as_uri()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A report of two methods, with figures, tables and folds."""
    folder = tmp_path_factory.mktemp("study")
    write_report(pair(), folder)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A report of three methods on two splits, with verdicts."""
    folder = tmp_path_factory.mktemp("judged")
    write_report(Large(("full", "linear", "lora"), count=300).results, folder)
    return (folder / "report.html").as_uri()


def open_all(page, uri, scheme="light"):
    """Open a page with all its folds open."""
    page.emulate_media(color_scheme=scheme)
    page.goto(uri)
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")


@pytest.mark.parametrize("width", [1280, 768, 390])
def test_no_element_is_wider_than_the_screen(study, judged, width):
    with open_browser(width, 900) as page:
        for report in (study, judged):
            open_all(page, report)
            assert page.evaluate(OVERFLOWING) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_label_of_a_figure_lies_over_another(study, judged):
    with open_browser(1280, 900) as page:
        for report in (study, judged):
            open_all(page, report)
            assert page.locator("svg text").count() > 100
            assert page.evaluate(OVERLAPPING) == []


def test_the_answer_is_on_the_first_screen_of_a_phone(judged):
    with open_browser(390, 844) as page:
        open_all(page, judged)
        for part in (".headline", ".conclusions p"):
            box = page.locator(part).first.bounding_box()
            assert box["y"] + box["height"] < 844


def test_wide_tables_scroll_on_a_phone_and_keep_their_first_column_in_view(study):
    with open_browser(390, 844) as page:
        open_all(page, study)
        table = page.locator(".scroll").first
        assert table.evaluate("each => each.scrollWidth > each.clientWidth")
        table.evaluate("each => each.scrollLeft = 200")
        name, box = table.locator("tbody th").first.bounding_box(), table.bounding_box()
        assert abs(name["x"] - box["x"]) < 1 and table.get_attribute("tabindex") == "0"


def test_all_scores_of_a_run_are_seen_on_a_phone_without_scrolling(trained):
    with open_browser(390, 844) as page:
        open_all(page, trained)
        table = page.locator(".scroll").first
        assert table.locator("thead th").last.inner_text() == "Loss, nats"
        assert table.evaluate("each => each.scrollWidth <= each.clientWidth")


def test_a_confusion_matrix_of_many_classes_scrolls_on_a_phone_in_letters_that_can_be_read(judged, trained):
    with open_browser(390, 844) as page:
        for report, scrolls in ((judged, True), (trained, False)):  # of 10 and of 3 classes
            open_all(page, report)
            matrix = page.locator(".panel", has=page.locator("svg[aria-label^='Confusion matrix']")).first
            assert matrix.evaluate("each => each.scrollWidth > each.clientWidth") == scrolls
            assert matrix.get_attribute("tabindex") == "0" and matrix.get_attribute("role") == "region"
            assert matrix.evaluate(SMALLEST) >= 9


def test_figures_are_printed_whole(judged, trained):
    with open_browser(718, 1000) as page:  # A4 between usual margins
        for report in (judged, trained):
            open_all(page, report)
            page.emulate_media(media="print")
            boxes = page.locator("svg").evaluate_all("all => all.map(each => each.getBoundingClientRect())")
            assert boxes and all(box["x"] >= 0 and box["x"] + box["width"] <= 718.5 for box in boxes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(study, scheme):
    with open_browser(1280, 900) as page:
        open_all(page, study, scheme)
        assert page.evaluate(FAINT) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(judged, scheme):
    with open_browser(390, 844) as page:
        open_all(page, judged, scheme)
        assert accessibility_faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_drawn_in_the_colours_of_the_page(study, scheme):
    with open_browser(1280, 900) as page:
        open_all(page, study, scheme)
        picture = Image.open(io.BytesIO(page.locator("figure svg").first.screenshot())).convert("L")
    values = np.asarray(picture, float)
    ground, ink = values[2, 2], values.min() if scheme == "light" else values.max()
    assert ground > 250 if scheme == "light" else ground < 30
    assert abs(ground - ink) > 150


@pytest.mark.parametrize("width", [1280, 390])
def test_contents_stay_in_view_and_hide_no_heading(study, width):
    with open_browser(width, 900) as page:
        open_all(page, study)
        page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
        box = page.locator("nav").bounding_box()
        assert 0 <= box["y"] < 100
        page.locator("nav a", has_text="Confusion").click()
        heading = page.locator("h2", has_text="Confusion").bounding_box()
        assert heading["y"] >= (box["height"] if width == 390 else 0)
        if width == 390:
            assert box["height"] < 60
            links = page.locator("nav a").evaluate_all("all => all.map(each => each.getAttribute('href'))")
            assert all(page.locator(link).count() == 1 for link in links)


def test_headings_follow_each_other_and_pictures_have_texts(study):
    with open_browser(1280, 900) as page:
        open_all(page, study)
        levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(each => +each.tagName[1])")
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert page.locator("svg:not([aria-label]), img:not([alt])").count() == 0
