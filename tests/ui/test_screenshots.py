"""Pictures of the pages as they are with the real models: `make browser ARGS="--screenshots=FOLDER"`.

Nothing on them is made up: the example photo and recording, the answers that the embedded models give, one battle and
its vote, and, where $DUET_RUNS names a folder with training runs, the curves of the latest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import ALLOWED, DESK, PHONE, Page, shots

from experts.config import home
from experts.weights.catalogue import embedded, is_here

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTION = "What is in the picture?"
ANSWER_MS = 600_000  # a busy machine is slow
pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Path:
    wanted = shots(request.config)
    if wanted is None:
        pytest.skip("no pictures are wanted; --screenshots=FOLDER asks for them")
    if lacking := [name for name in embedded() if not is_here(name)]:
        pytest.skip(f"needs the real models: duet weights fetch {' '.join(lacking)}")
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


@pytest.fixture
def app(folder: Path, tmp_path: Path) -> Iterator[str]:
    """`duet ui` with the weights that are here and nobody's conversations and votes."""
    from served import process

    for name in ("weights", "converted", "Ultralytics"):
        if (home() / name).is_dir():
            (tmp_path / name).symlink_to(home() / name)
    runs = os.environ.get("DUET_RUNS", str(tmp_path / "runs"))
    with process(["-m", "ui.cli", "ui", "--runs", runs, "--port"], tmp_path) as url:
        yield url


def opened(browser: Any, app: str, **how: Any) -> Page:
    context = browser.new_context(**{"viewport": DESK, "locale": "en-US", "permissions": ALLOWED} | how)
    context.set_default_timeout(ANSWER_MS)
    return Page(context, app)


def shot(page: Page, file: Path, *, whole: bool = False) -> None:
    page.page.wait_for_timeout(1000)  # for fonts, and for what slides in
    page.page.screenshot(path=str(file), full_page=whole)


def tab(page: Page, name: str) -> None:
    page.page.click(f"button[role=tab]:has-text('{name}')")


def done(page: Page, *boxes: str) -> None:
    """Wait for the line of figures that ends an answer, in each box."""
    for box in boxes or ("#chat",):
        page.page.wait_for_selector(f"{box} .bot.message small")
    page.page.wait_for_timeout(2000)


def test_pictures_of_the_pages(browser: Any, app: str, folder: Path) -> None:
    page = opened(browser, app)
    page.ask(QUESTION, EXAMPLES / "photo.jpg")
    done(page)
    page.page.wait_for_selector("#evidence-list .box")
    page.page.click("#chat :text('How it was answered') >> nth=0")
    page.page.set_viewport_size({"width": DESK["width"], "height": 1300})  # room for a question with all that it became
    page.page.locator("#chat .bot-row").last.scroll_into_view_if_needed()
    shot(page, folder / "chat.png")
    page.page.set_viewport_size(DESK)

    phone = {
        "viewport": PHONE,
        "has_touch": True,
        "is_mobile": True,
        "storage_state": page.page.context.storage_state(),
    }
    small = opened(browser, app, **phone, color_scheme="dark")
    tab(small, "Chat")
    small.page.wait_for_selector("#chat .bot.message")
    shot(small, folder / "phone.png", whole=True)
    small.page.context.close()

    page.page.click("#new")
    page.ask("Which platform does the train leave from?", EXAMPLES / "announcement.wav")
    done(page)
    page.page.wait_for_selector("#evidence-list audio")
    shot(page, folder / "recording.png")

    tab(page, "Compare")
    page.ask(QUESTION, EXAMPLES / "photo.jpg", box="#compare-ask")
    page.page.wait_for_selector("#compare-vote-tie:not([disabled])")
    shot(page, folder / "compare.png", whole=True)

    tab(page, "Arena")
    page.ask(QUESTION, EXAMPLES / "photo.jpg", box="#arena-ask")
    page.page.wait_for_selector("#arena-tie:not([disabled])")
    page.wait_for("Which is better?", "#arena-status")
    page.page.click("#arena-tie")
    page.page.wait_for_selector("#arena-reveal table")
    shot(page, folder / "arena.png", whole=True)

    tab(page, "Leaderboard")
    page.page.wait_for_selector("#board svg, #board p")
    shot(page, folder / "leaderboard.png", whole=True)

    tab(page, "Tools")
    page.page.set_input_files("#tool-file input[type=file]", str(EXAMPLES / "photo.jpg"))
    page.page.wait_for_selector("#tool-file .file-preview")
    page.page.click("#tool-expert input")
    page.page.click("ul[role=listbox] li:has-text('detect')")
    page.page.click("#tool-run")
    page.page.wait_for_selector("#tool-list .box")
    shot(page, folder / "tools.png", whole=True)

    tab(page, "Training")
    if "DUET_RUNS" in os.environ:
        page.page.wait_for_selector("#loss canvas, #loss svg")
        shot(page, folder / "training.png", whole=True)
    assert page.complaints == []
