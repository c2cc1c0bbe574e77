"""The app in a real browser, Debian's chromium: `make browser`, or `pytest -m browser tests/ui/test_browser.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import ALLOWED, PHONE, WAIT_MS, Page, logged
from served import EXAMPLES

pytestmark = pytest.mark.browser
CUP, SPOON = [190 / 600, 60 / 400, 420 / 600, 330 / 400], [330 / 600, 250 / 400, 470 / 600, 330 / 400]


def test_photo_gets_both_answers_their_timelines_boxes_and_links_to_them(page: Page) -> None:
    page.page.click("#route label:has-text('both')")
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg")
    page.page.wait_for_selector("#evidence-list .frame img")
    page.answered("It stands on a wooden table.")
    for route in ("experts", "connector"):
        page.page.click(f"#chat :text('{route} · How it was answered')")
        page.wait_for(f"{route} · How it was answered")
    page.wait_for("detect · 2 findings")
    page.wait_for("encoder · ")
    assert page.page.inner_text("#chat").count("It stands on a wooden table.") == 2
    listed = page.page.inner_text("#evidence-list")
    assert "cup" in listed and "spoon" in listed
    assert page.drawn() == [pytest.approx(CUP, abs=0.01), pytest.approx(SPOON, abs=0.01)]
    page.page.click("#chat a[href='#evidence-1-2']")
    page.page.wait_for_selector("#evidence-list button.chip[data-finding='2'][aria-current]")
    assert page.complaints == []


def test_reload_keeps_the_conversation_and_new_begins_another(page: Page) -> None:
    page.ask("What is on the table?", EXAMPLES / "photo.jpg")
    page.page.wait_for_selector("#evidence-list .frame img")
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
    page.page.wait_for_selector("#evidence-list .frame img")
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


def test_own_question_is_edited_in_place_and_what_came_after_it_goes(page: Page) -> None:
    for number, files in ((31, [EXAMPLES / "photo.jpg"]), (32, [])):
        page.ask(f"What is number {number}?", *files)
        page.answered(f"It is {number}.")
    page.page.click("#chat [aria-label='Edit'] >> nth=0")
    assert page.page.input_value("#chat textarea") == "What is number 31?"
    page.page.fill("#chat textarea", "What is number 33?")
    page.page.click("#chat [aria-label='Submit']")
    page.answered("It is 33.")
    shown = page.page.inner_text("#chat")
    assert "number 31" not in shown and "number 32" not in shown
    page.page.reload()
    page.wait_for("It is 33.")
    assert page.complaints == []


def test_copy_takes_what_was_said_and_nothing_else(page: Page) -> None:
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg")
    page.answered("It stands on a wooden table.")
    page.page.click("#chat .bot-row >> nth=-1")
    page.page.click("#chat [aria-label='Copy message'] >> nth=-1")
    page.page.wait_for_selector("#chat [aria-label='Copied message']")
    told = page.page.evaluate("navigator.clipboard.readText()")
    assert told == "The picture shows a red cup with a spoon. It stands on a wooden table."
    assert page.complaints == []


def test_recording_has_its_transcript_and_a_click_in_it_seeks(page: Page) -> None:
    page.ask("Where does the train leave?", EXAMPLES / "announcement.wav")
    page.wait_for("From platform four.")
    page.page.wait_for_selector("#evidence-list audio")
    page.page.click("#evidence-list button.chip[data-finding='2']")
    page.page.wait_for_selector("#evidence-list button.chip[data-finding='2'][aria-current]")
    page.page.wait_for_function("document.querySelector('#evidence-list audio')?.currentTime > 1")
    assert page.complaints == []


def test_both_routes_stand_side_by_side(page: Page) -> None:
    page.page.click("button[role=tab]:has-text('Compare')")
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg", box="#compare-ask")
    for route in ("experts", "connector"):
        page.wait_for("It stands on a wooden table.", f"#compare-{route}")
        page.wait_for("tokens", f"#compare-{route}")
    assert len(page.drawn("#compare-evidence-experts-list")) == 2
    assert page.complaints == []


def test_battle_is_blind_takes_one_vote_of_a_double_click_and_stands_on_the_board(page: Page) -> None:
    page.page.click("button[role=tab]:has-text('Leaderboard')")
    page.page.wait_for_selector("#board :text('No votes yet')")
    page.page.click("button[role=tab]:has-text('Arena')")
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg", box="#arena-ask")
    page.wait_for("Which is better?", "#arena-status")
    assert page.page.input_value("#arena-text-a textarea") == page.page.input_value("#arena-text-b textarea") != ""
    assert page.page.inner_text("#arena-reveal").strip() == ""
    page.page.dblclick("#arena-a")
    page.wait_for("connector", "#arena-reveal")
    page.wait_for("A is better", "#arena-status")
    page.page.click("button[role=tab]:has-text('Leaderboard')")
    page.wait_for("Side A won 100.0% of 1 decided battles", "#board")
    page.page.click("#board-by label:has-text('interfaces and models')")
    page.wait_for("fake-llm#", "#board")
    assert page.complaints == []


def test_one_expert_by_hand_draws_what_it_found(page: Page) -> None:
    page.page.click("button[role=tab]:has-text('Tools')")
    page.page.set_input_files("#tool-file input[type=file]", str(EXAMPLES / "photo.jpg"))
    page.page.wait_for_selector("#tool-file .file-preview")
    page.page.click("#tool-run")
    assert len(page.drawn("#tool-list")) == 2
    assert "2 findings" in page.page.inner_text("#tool-told")
    assert page.complaints == []


def test_curves_of_a_run_grow_while_it_trains(page: Page, runs: Path) -> None:
    log = runs / "warmup" / "log.jsonl"
    for step in (60, 61):
        with log.open("a") as lines:
            lines.write(logged(step))
        if step == 60:  # a run that is written to is looked at again by itself
            page.page.reload()
            page.page.click("button[role=tab]:has-text('Training')")
            page.page.wait_for_selector("#loss canvas, #loss svg")
        page.wait_for(f"step {step}", "#run-told")
    assert page.complaints == []


def test_keys_alone_ask_choose_the_route_open_the_evidence_and_change_the_page(page: Page) -> None:
    keys = page.page.keyboard
    page.page.click("button[role=tab]:has-text('Compare')")
    page.page.focus("button[role=tab]:has-text('Chat')")
    keys.press("Enter")
    page.page.wait_for_selector("#ask textarea")
    page.give(EXAMPLES / "photo.jpg")
    page.page.focus("#ask textarea")
    keys.type("What is number 9?")
    reach(page, "#route input[value='experts']")
    keys.press("Space")
    page.page.wait_for_selector("#route label:has(input:checked):has-text('experts')")
    page.page.focus("#ask textarea")
    keys.press("Enter")
    page.answered("It is 9.")
    page.page.wait_for_selector("#evidence-list button.chip[data-finding='2']")
    reach(page, "#evidence-list button.chip[data-finding='2']")
    keys.press("Enter")
    page.page.wait_for_selector("#evidence-list button.chip[data-finding='2'][aria-current]")
    assert page.complaints == []


def reach(page: Page, selector: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(80):
        if page.page.evaluate("(selector) => !!document.activeElement?.matches(selector)", selector):
            return
        page.page.keyboard.press("Tab")
    raise AssertionError(f"the Tab key does not lead to {selector}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_in_chinese_shows_everything_within_its_width_and_readably(
    browser: Any, address: str, scheme: str
) -> None:
    made = browser.new_context(
        viewport=PHONE, locale="zh-CN", color_scheme=scheme, has_touch=True, is_mobile=True, permissions=ALLOWED
    )
    made.set_default_timeout(WAIT_MS)
    page = Page(made, address)
    page.page.wait_for_selector("button[role=tab]:has-text('对话')")
    assert "询问图像" in (page.page.get_attribute("#ask textarea", "placeholder") or "")
    page.ask("What is in the picture?", EXAMPLES / "photo.jpg")
    page.answered("It stands on a wooden table.")
    page.wait_for("回答过程")  # and not "How it was answered"
    page.page.wait_for_selector("#evidence-list .frame img")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for wide in ("#chat", "#ask", "#evidence-list"):
        box = page.page.locator(wide).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"], wide
    assert page.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    for text in (
        "#chat .bot.message .prose p",
        "#chat .user.message .prose p",
        "#evidence-list .chip span",
        "#ask textarea",
    ):
        assert page.contrast(text) >= 4.5, text
    page.page.evaluate("document.activeElement.blur()")
    page.ask("", EXAMPLES / "photo.jpg")
    assert "请求" in page.toast("the question is empty")
    assert page.complaints == []
    made.close()
