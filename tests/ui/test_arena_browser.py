"""The arena in a real browser: a whole blind battle, keys, and a double click that stores one vote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("httpx")
from test_arena_page import Served, served  # noqa: E402, F401  (a fixture)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def page(browser: Any, served: Served) -> Iterator[Any]:  # noqa: F811
    shown = browser.new_page(viewport={"width": 390, "height": 844}, locale="en-GB")
    shown.faults = []
    shown.on("pageerror", lambda error: shown.faults.append(str(error)))
    shown.on("console", lambda said: shown.faults.append(said.text) if said.type == "error" else None)
    shown.goto(served.url)
    yield shown
    shown.close()


def ask(page: Any, photo: Path) -> None:
    page.locator("#arena-ask input[type=file]").set_input_files(str(photo))
    page.locator("#arena-ask textarea").fill("What is there?")
    page.locator("#arena-ask button.submit-button").click()
    playwright.expect(page.locator("#arena-status")).to_contain_text("Which is better?", timeout=60_000)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    import PIL.Image

    PIL.Image.new("RGB", (64, 64), (90, 120, 40)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_blind_battle_ends_in_one_vote_and_the_reveal(page: Any, served: Served, photo: Path) -> None:  # noqa: F811
    playwright.expect(page.locator("#arena-a")).to_be_disabled()
    ask(page, photo)
    seen = page.locator("body").inner_text().lower()
    assert "experts" not in seen.split("answer a")[1] and "connector" not in seen.split("answer a")[1]
    page.locator("#arena-a").dblclick()
    playwright.expect(page.locator("#arena-reveal")).to_contain_text("connector", timeout=30_000)
    playwright.expect(page.locator("#arena-asked p")).to_have_text("What is there?")
    shown, below = (page.locator(name).bounding_box() for name in ("#arena-asked img", "#arena-text-a"))
    assert shown["width"] > 50 and shown["y"] + shown["height"] <= below["y"], "question and media stay in view"
    playwright.expect(page.locator("#arena-status")).to_contain_text("A is better")
    playwright.expect(page.locator("#arena-b")).to_be_disabled()
    assert served.votes.counts() == {"battles": 1, "votes": 1}
    assert page.faults == []


def test_a_key_votes_but_not_while_one_types(page: Any, served: Served, photo: Path) -> None:  # noqa: F811
    ask(page, photo)
    page.locator("#arena-ask textarea").focus()
    page.keyboard.press("t")
    assert served.votes.counts()["votes"] == 0
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("t")
    playwright.expect(page.locator("#arena-reveal")).to_contain_text("experts", timeout=30_000)
    ((_, vote),) = served.votes.all()
    assert vote is not None and vote.choice == "tie"
    assert page.faults == []
