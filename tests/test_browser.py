"""The built book in a real browser, opened from disk as a reader without network opens it."""

from __future__ import annotations

import html
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
THEMES = ("light", "dark")


def pages() -> list[str]:
    """Every page of the table of contents, in order."""
    return re.findall(r"^\s*(?:- file|root): (\S+)$", (ROOT / "_toc.yml").read_text(), flags=re.M)


def missing(what: str) -> None:
    """Skip, saying why; in continuous integration nothing may be skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="module")  # not longer: Playwright's event loop would disturb other tests
def browser() -> Iterator[Any]:
    if not (HTML / "index.html").exists():
        missing("no built book: run `make book` first")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing("no Chromium or Chrome is installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """One page, opened from disk, and everything that it asked for or complained about.

    Without mathematics, MathJax is an empty file: a page full of formulas then opens in a moment.
    """

    def __init__(self, browser: Any, address: str, *, mathematics: bool = True) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context = browser.new_context(viewport=DESKTOP, color_scheme=THEMES[0])
        self.context.set_default_timeout(15_000)
        self.context.route(re.compile(r"^(?!file:|data:|blob:)"), lambda route: route.abort())
        if not mathematics:
            self.context.route(re.compile(r"tex-svg"), lambda route: route.fulfill(body=""))
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self.listen)
        self.page.goto(f"{HTML.as_uri()}/{address}", wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise?.then(() => true)")

    def listen(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    @property
    def left(self) -> list[str]:
        """Requests that went anywhere but to the disk."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *unused: object) -> None:
        self.context.close()


RAW_MATHEMATICS = r"""() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (node.parentElement.closest("script, style, pre, code, textarea, mjx-container")) continue;
    if (/\\\(|\\\[|\$\$|\\begin\{/.test(node.data)) raw.push(node.data.trim().slice(0, 80));
  }
  for (const math of document.querySelectorAll(".math"))
    if (!math.querySelector("mjx-container")) raw.push(math.textContent.slice(0, 80));
  for (const error of document.querySelectorAll("mjx-merror, [data-mml-node=merror]"))
    raw.push("error in " + error.closest(".math")?.textContent.slice(0, 80));
  return raw;
}"""

PICTURES_WITHOUT_TEXT = """() => [...document.querySelectorAll("img")]
  .filter(img => !img.alt.trim() || /\\.(svg|png)$/.test(img.alt)).map(img => img.src)"""

# What axe-core need not walk over a thousand times: the shapes and signs of a formula, of which no
# rule says anything, and the coloured words of the code, of which one of each colour, in each kind
# of box, is as good as all.
THIN_OUT = """() => {
  for (const part of document.querySelectorAll("mjx-container > *")) part.replaceChildren();
  const seen = new Set();
  for (const word of document.querySelectorAll(".highlight span, .sig span")) {
    const box = word.closest(".cell_input, .cell_output, dt, section > *");
    const kind = [word, word.parentElement, box].map(node => node?.className).join(" in ");
    if (word.querySelector(":not(span)")) continue;
    if (seen.has(kind)) word.replaceWith(word.textContent); else seen.add(kind);
  }
}"""

# A page wider than the phone scrolls sideways as a whole: something does not fit in its box.
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


COLOURS = ["color-contrast", "link-in-text-block"]  # the only rules that ask for colours; slow
OUTSIDE_TEXT = {"exclude": [["article"]]}
ONLY_COLOURS = {"runOnly": {"type": "rule", "values": COLOURS}}
ALL_BUT_COLOURS = {"rules": {rule: {"enabled": False} for rule in COLOURS}}

# (theme, window, what axe-core is run on and with): every rule, wide and narrow; every colour, in
# light and dark. Colours of the text do not depend on the width; narrow, other buttons appear.
LOOKS: list[tuple[str, dict[str, int], list[tuple[Any, dict[str, Any]]]]] = [
    ("light", DESKTOP, [(None, {})]),
    ("light", PHONE, [(None, ALL_BUT_COLOURS), (OUTSIDE_TEXT, ONLY_COLOURS)]),
    ("dark", DESKTOP, [(None, ONLY_COLOURS)]),
    ("dark", PHONE, [(OUTSIDE_TEXT, ONLY_COLOURS)]),
]


def violations(page: Any, context: Any = None, options: dict[str, Any] | None = None) -> list[str]:
    """What axe-core finds: by default every rule on the whole page."""
    # Without preload: from disk, axe itself may not fetch the style sheets that it wants.
    always = {"preload": False, "resultTypes": ["violations"]}
    found = axe.Axe().run(page, context=context, options=always | (options or {}))
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:150]}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("name", pages())
def test_page_reads_well_without_network(browser: Any, name: str) -> None:
    with Visit(browser, f"{name}.html") as visit:
        page = visit.page
        assert page.evaluate(RAW_MATHEMATICS) == []
        assert page.evaluate(PICTURES_WITHOUT_TEXT) == []
        page.evaluate(THIN_OUT)
        for theme, size, runs in LOOKS:
            page.set_viewport_size(size)
            page.emulate_media(color_scheme=theme)
            page.wait_for_function("t => document.documentElement.dataset.theme === t", arg=theme)
            page.wait_for_timeout(200)  # sidebars slide, and boxes are measured again
            assert page.evaluate(OVERFLOW) <= 0, f"wider than the window at {size['width']}"
            found = [found for run in runs for found in violations(page, *run)]
            assert found == [], f"axe-core at {size['width']}, {theme}"
        assert visit.left == []
        assert visit.errors == []


def test_links_lead_somewhere() -> None:
    if not (HTML / "index.html").exists():
        missing("no built book: run `make book` first")
    anchors: dict[Path, set[str]] = {}

    def anchors_of(path: Path) -> set[str]:
        if path not in anchors:
            anchors[path] = set(re.findall(r"\bid=[\"']([^\"']+)", path.read_text()))
        return anchors[path]

    broken = []
    for name in pages():
        page = HTML / f"{name}.html"
        for link in set(re.findall(r"<a [^>]*href=[\"']([^\"']*)[\"']", page.read_text())):
            if re.match(r"[a-z]+:", link):
                continue  # the text may name an address; no page asks for it
            address, _, anchor = html.unescape(link).partition("#")
            target = (page.parent / address.split("?")[0]).resolve() if address else page
            if not target.exists() or (anchor and anchor not in anchors_of(target)):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_search_finds_a_word_from_disk(browser: Any) -> None:
    with Visit(browser, "search.html?q=trajectory") as visit:
        visit.page.wait_for_selector("#search-results ul.search li a")
        assert visit.page.locator("#search-results ul.search li a").count() >= 1
        assert visit.left == []
        assert visit.errors == []


def test_a_quiz_opens_by_keyboard_and_explains(browser: Any) -> None:
    name = next(n for n in pages() if "pg-option" in (HTML / f"{n}.html").read_text())
    with Visit(browser, f"{name}.html") as visit:
        for kind, verdict in (("pg-right", "Right."), ("pg-wrong", "Not this one.")):
            option = visit.page.locator(f"details.pg-option:has(.{kind})").first
            assert not option.locator(f".{kind}").is_visible()
            option.locator("summary").focus()
            visit.page.keyboard.press("Enter")
            assert option.locator(f".{kind}").is_visible()
            assert option.locator(f".{kind}").inner_text().startswith(verdict)


def test_a_check_mark_leads_to_the_test_of_its_equation(browser: Any) -> None:
    name = next(n for n in pages() if 'class="pg-check"' in (HTML / f"{n}.html").read_text())
    with Visit(browser, f"{name}.html") as visit:
        mark = visit.page.locator("a.pg-check").first
        label = mark.get_attribute("href").split("#check-")[1]
        assert "checked" in mark.get_attribute("aria-label")
        mark.click()
        visit.page.wait_for_load_state("load")
        assert visit.page.locator(f"section#check-{label}").is_visible()


def test_the_theme_button_changes_the_theme(browser: Any) -> None:
    with Visit(browser, f"{pages()[0]}.html") as visit:
        before = visit.page.evaluate("document.documentElement.dataset.mode")
        visit.page.locator(".theme-switch-button").first.click()
        assert visit.page.evaluate("document.documentElement.dataset.mode") != before


def test_the_listeners_hear_a_request_and_an_error(browser: Any) -> None:
    """Negative control: the tests above can fail."""
    with Visit(browser, f"{pages()[0]}.html") as visit:
        visit.page.evaluate("() => fetch('https://example.invalid/x').catch(() => null)")
        visit.page.evaluate("() => console.error('heard')")
        visit.page.evaluate(
            "() => document.querySelector('article').insertAdjacentHTML("
            "'beforeend', '<p class=\"math\">\\\\(x\\\\)</p><img src=\"data:,\">')"
        )
        assert visit.left == ["https://example.invalid/x"]
        assert "heard" in visit.errors
        assert len(visit.page.evaluate(RAW_MATHEMATICS)) >= 1
        assert len(visit.page.evaluate(PICTURES_WITHOUT_TEXT)) == 1
        assert any("image-alt" in violation for violation in violations(visit.page))


def test_pale_text_is_seen_in_the_text_and_outside(browser: Any) -> None:
    """Negative control: the runs of axe-core that look at colours see them, the others do not."""
    pale = '<p style="color: #888; background: #999">pale</p>'
    for place, runs in {
        "article": [(None, {}), (None, ONLY_COLOURS)],
        ".bd-header-article": [(None, {}), (None, ONLY_COLOURS), (OUTSIDE_TEXT, ONLY_COLOURS)],
    }.items():
        with Visit(browser, f"{pages()[0]}.html", mathematics=False) as visit:
            visit.page.eval_on_selector(place, f"e => e.insertAdjacentHTML('afterbegin', '{pale}')")
            for run in runs:
                assert any("color-contrast" in v for v in violations(visit.page, *run))
            assert violations(visit.page, None, ALL_BUT_COLOURS) == []
