"""The app in a real browser, Debian's chromium: `apt-get install chromium`, `pytest -m browser tests/test_browser.py`.

DUET_SCREENSHOTS=docs/images keeps pictures of the pages.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import EXAMPLES, served

pytestmark = pytest.mark.browser
CHROMIUM = Path("/usr/bin/chromium")
SHOTS = os.environ.get("DUET_SCREENSHOTS")
WAIT_MS = 60_000
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = tmp_path_factory.mktemp("runs") / "warmup"
    run.mkdir()
    rows = [
        {"step": n, "loss": 2 / n, "lr": {"connector": 0.001}, "samples": 8 * n, "seconds": n} for n in range(1, 60)
    ]
    (run / "log.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    with served(tmp_path_factory.mktemp("home"), run.parent, pause_s=0.1) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    made = browser.new_context(viewport=DESK, locale="en-US")
    made.set_default_timeout(WAIT_MS)
    yield made
    made.close()


class Page:
    """A page of the app and what its console complained about."""

    def __init__(self, context: Any, address: str) -> None:
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector("#ask textarea")
        self.page.wait_for_selector("#evidence-list .findings")

    def ask(self, question: str, *files: Path, box: str = "#ask") -> None:
        if files:
            with self.page.expect_file_chooser() as chooser:
                self.page.click(f"{box} .upload-button")
            chooser.value.set_files([str(file) for file in files])
            self.page.wait_for_selector(f"{box} .thumbnail-item")
        self.page.fill(f"{box} textarea", question)
        self.page.press(f"{box} textarea", "Enter")

    def said(self, box: str = "#chat") -> str:
        return self.page.inner_text(f"{box} .bot.message >> nth=-1")

    def wait_for(self, text: str, box: str = "#chat") -> None:
        self.page.wait_for_function(
            "([box, text]) => document.querySelector(box)?.innerText.includes(text)", arg=[box, text]
        )

    def shot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.page.wait_for_timeout(700)
            self.page.screenshot(path=f"{SHOTS}/{name}.png")


@pytest.fixture
def page(context: Any, address: str) -> Page:
    return Page(context, address)


def test_photo_is_answered_with_its_timeline_its_boxes_and_links_to_them(page: Page) -> None:
    page.shot("chat-empty")
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg")
    page.page.wait_for_selector("#evidence-picture img")
    page.wait_for("It stands on a wooden table.")
    page.page.click("#chat :text('How it was answered')")
    page.wait_for("detect · 2 findings")
    page.page.hover("#chat .bot.message >> nth=-1")
    page.page.mouse.wheel(0, 2000)
    page.shot("chat")
    listed = page.page.inner_text("#evidence-list")
    assert "cup" in listed and "spoon" in listed
    page.page.click("#chat a[href='#evidence-1-2']")
    page.page.wait_for_selector("#evidence-list button[data-number='2'][aria-current]")
    assert page.complaints == []


def test_reload_keeps_the_conversation_and_new_begins_another(page: Page) -> None:
    page.ask("What is on the table?", EXAMPLES / "photo.jpg")
    page.page.wait_for_selector("#evidence-picture img")
    page.page.reload()
    page.wait_for("It stands on a wooden table.")
    page.wait_for("What is on the table?")
    page.ask("And what is number 77?")  # about the same photo, which was not given again
    page.wait_for("It is 77.")
    page.page.click("#new")
    page.page.wait_for_function("!document.querySelector('#chat').innerText.includes('It is 77.')")
    page.page.click("#conversations input")
    page.page.click("ul[role=listbox] li:has-text('What is on the table?')")
    page.wait_for("It is 77.")
    assert page.complaints == []


def test_stop_ends_the_answer_and_keeps_what_was_said(page: Page) -> None:
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg")
    page.wait_for("The picture")
    page.page.click("#ask .stop-button")
    page.page.wait_for_selector("#ask .submit-button")
    page.page.wait_for_selector("#evidence-picture img")
    said = page.said()
    assert "The picture" in said
    assert "wooden table" not in said
    page.page.click("#chat :text('How it was answered')")
    page.wait_for("stopped")
    assert page.complaints == []


def test_same_file_can_be_asked_about_again(page: Page) -> None:
    for number in (21, 22):
        page.ask(f"What is number {number}?", EXAMPLES / "photo.jpg")
        page.wait_for(f"It is {number}.")
        page.page.wait_for_selector("#ask .submit-button")
    assert page.complaints == []


def test_undo_puts_the_question_back_and_retry_asks_it_again(page: Page) -> None:
    page.ask("What is number 12?", EXAMPLES / "photo.jpg")
    page.wait_for("It is 12.")
    page.page.wait_for_selector("#ask .submit-button")
    page.page.click("#chat [aria-label='Retry']")
    page.page.wait_for_selector("#ask .stop-button")
    page.page.wait_for_selector("#ask .submit-button")
    page.wait_for("It is 12.")
    page.page.click("#chat [aria-label='Undo']")
    page.page.wait_for_function("document.querySelector('#ask textarea').value === 'What is number 12?'")
    page.page.wait_for_selector("#ask .thumbnail-item")
    assert page.complaints == []


def test_recording_has_its_transcript_and_a_click_in_it_seeks(page: Page) -> None:
    page.ask("Where does the train leave?", EXAMPLES / "announcement.wav")
    page.wait_for("From platform four.")
    page.page.wait_for_selector("#evidence-player:not(.hidden)")
    page.page.click("#evidence-list button[data-number='2']")
    page.page.wait_for_selector("#evidence-list button[data-number='2'][aria-current]")
    page.page.wait_for_function("document.querySelector('#evidence-player #time')?.innerText.trim() === '0:01'")
    page.shot("recording")
    assert page.complaints == []


def test_both_routes_stand_side_by_side(page: Page) -> None:
    page.page.click("button[role=tab]:has-text('Compare')")
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg", box="#compare-ask")
    for route in ("experts", "connector"):
        page.wait_for("It stands on a wooden table.", f"#compare-{route}")
        page.wait_for("tokens", f"#compare-{route}")
    page.page.wait_for_selector("#compare-evidence-experts-picture img")
    page.shot("compare")
    assert page.complaints == []


def test_one_expert_by_hand_and_the_curves_of_a_run(page: Page) -> None:
    page.page.click("button[role=tab]:has-text('Tools')")
    page.page.set_input_files("#tool-file input[type=file]", str(EXAMPLES / "photo.jpg"))
    page.page.wait_for_selector("#tool-file .file-preview")
    page.page.click("#tool-run")
    page.page.wait_for_selector("#tool-picture img")
    assert "2 findings" in page.page.inner_text("#tool-told")
    page.shot("tools")
    page.page.click("button[role=tab]:has-text('Training')")
    page.page.wait_for_selector("#loss canvas, #loss svg")
    assert "step 59" in page.page.inner_text("#run-told")
    page.shot("training")
    assert page.complaints == []


def test_file_that_is_no_picture_is_told_and_the_session_goes_on(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "holiday.png"
    broken.write_bytes(b"this is no picture")
    page.ask("What is in the picture?", broken)
    page.page.wait_for_selector(".toast-body:has-text('holiday.png')")
    told = page.page.inner_text(".toast-body")
    assert "request" in told
    assert str(tmp_path) not in told and "Traceback" not in told
    page.page.click("#ask .thumbnail-item button")
    page.ask("What is number 5?", EXAMPLES / "photo.jpg")
    page.wait_for("It is 5.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_shows_everything_within_its_width(browser: Any, address: str, scheme: str) -> None:
    made = browser.new_context(viewport=PHONE, locale="zh-CN", color_scheme=scheme, has_touch=True, is_mobile=True)
    made.set_default_timeout(WAIT_MS)
    page = Page(made, address)
    page.page.wait_for_selector("button[role=tab]:has-text('对话')")
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg")
    page.wait_for("It stands on a wooden table.")
    page.page.wait_for_selector("#evidence-picture img")
    page.page.wait_for_selector("#ask .submit-button")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    if scheme == "dark":
        page.page.evaluate("document.body.classList.contains('dark')")
    page.page.evaluate("window.scrollTo(0, 0)")
    page.shot(f"phone-{scheme}")
    page.page.evaluate("document.querySelector('#evidence-list').scrollIntoView({block: 'end'})")
    page.shot(f"phone-{scheme}-evidence")
    assert page.complaints == []
    made.close()
