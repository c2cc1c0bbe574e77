"""A browser for the tests: Debian's chromium, with a camera and a microphone that are none, on an app with fakes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
WAIT_MS = 90_000
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
ALLOWED = ["camera", "microphone", "clipboard-read", "clipboard-write"]
LIMITS = {"image_bytes": 1 << 20, "audio_bytes": 2 << 20, "video_bytes": 4 << 20}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the log of a training run of 59 steps."""
    run = tmp_path_factory.mktemp("runs") / "warmup"
    run.mkdir()
    (run / "log.jsonl").write_text("".join(map(logged, range(1, 60))))
    return run.parent


def logged(step: int) -> str:
    """A line of a training log."""
    row = {"step": step, "loss": 2 / step, "lr": {"connector": 0.001}, "samples": 8 * step, "seconds": step}
    return json.dumps(row) + "\n"


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Iterator[str]:
    """An app with fakes that takes 0.1 s for a word."""
    from served import served

    with served(tmp_path_factory.mktemp("home"), runs, pause_s=0.1, limits=LIMITS) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's chromium: make browser, or apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """One person's browser."""
    made = browser.new_context(viewport=DESK, locale="en-US", permissions=ALLOWED)
    made.set_default_timeout(WAIT_MS)
    yield made
    made.close()


@pytest.fixture
def page(context: Any, address: str) -> Page:
    return Page(context, address)


class Page:
    """A page of the app and what its console complained about."""

    def __init__(self, context: Any, address: str) -> None:
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.click("#pages button[data-tab-id=chat]")
        self.page.wait_for_selector("#ask textarea")
        self.page.wait_for_selector("#evidence-list .evidence")

    def give(self, *files: Path, box: str = "#ask") -> None:
        """Choose files for a question."""
        with self.page.expect_file_chooser() as chooser:
            self.page.click(f"{box} .upload-button")
        chooser.value.set_files([str(file) for file in files])
        self.page.wait_for_selector(f"{box} .thumbnail-item")

    def ask(self, question: str, *files: Path, box: str = "#ask") -> None:
        if files:
            self.give(*files, box=box)
        self.page.fill(f"{box} textarea", question)
        self.page.press(f"{box} textarea", "Enter")

    def said(self, box: str = "#chat") -> str:
        return str(self.page.inner_text(f"{box} .bot.message >> nth=-1"))

    def wait_for(self, text: str, box: str = "#chat") -> None:
        self.page.wait_for_function(
            "([box, text]) => document.querySelector(box)?.innerText.includes(text)", arg=[box, text]
        )

    def answered(self, text: str, box: str = "#chat", ask: str = "#ask") -> None:
        """Wait for an answer with `text` and for its end."""
        self.wait_for(text, box)
        self.page.wait_for_selector(f"{ask} .submit-button")

    def toast(self, text: str) -> str:
        """The toast that says `text`, once it is there; it is closed."""
        toast = self.page.locator(f".toast-body:has-text({json.dumps(text)})").first
        toast.wait_for()
        told = str(toast.inner_text())
        toast.locator(".toast-close").click()
        return told

    def drawn(self, where: str = "#evidence-list") -> list[list[float]]:
        """The boxes drawn on a picture, each (left, top, right, bottom) as shares of its width and height."""
        self.page.wait_for_selector(f"{where} .box")
        return list(
            self.page.evaluate(
                """(where) => {
  const base = document.querySelector(where + ' .frame img').getBoundingClientRect();
  return [...document.querySelectorAll(where + ' .box')].map((box) => {
    const at = box.getBoundingClientRect();
    return [(at.left - base.left) / base.width, (at.top - base.top) / base.height,
            (at.right - base.left) / base.width, (at.bottom - base.top) / base.height];
  });
}""",
                where,
            )
        )

    def contrast(self, selector: str) -> float:
        """How a text stands out from what is behind it, as WCAG counts it: 4.5 is enough."""
        return float(
            self.page.evaluate(
                """(selector) => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d');
  const behind = [];
  const element = document.querySelector(selector);
  for (let at = element; at; at = at.parentElement) behind.unshift(getComputedStyle(at).backgroundColor);
  const light = () => {
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(
      (v) => v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const lay = (colour) => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); };
  ['white', ...behind].forEach(lay);
  const ground = light();
  lay(getComputedStyle(element).color);
  const [low, high] = [ground, light()].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}""",
                selector,
            )
        )


def shots(config: pytest.Config) -> Path | None:
    """Where pictures of the pages are wanted: --screenshots=DIR, or $DUET_SCREENSHOTS."""
    wanted = config.getoption("screenshots") or os.environ.get("DUET_SCREENSHOTS")
    return Path(wanted) if wanted else None
