"""Media in a real browser: pasted, dropped, recorded and filmed; what was found drawn on them; and what is refused."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import Page
from clips import mux, wav
from served import EXAMPLES, SPOKEN
from test_media import bomb_png, picture

pytestmark = pytest.mark.browser
RECORDED = """() => {
  const begin = MediaRecorder.prototype.start;
  MediaRecorder.prototype.start = function (...given) {
    this.addEventListener('dataavailable', (event) => { window.recorded = (window.recorded || 0) + event.data.size; });
    return begin.apply(this, given);
  };
}"""
FILE = """async ([name, kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], name, {type: kind}));
  return carried;
}"""


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    """A picture in which the fake OCR reads."""
    file = tmp_path / "sign.png"
    file.write_bytes(picture("PNG", np.full((200, 300, 3), 230, np.uint8)))
    return file


def carried(page: Page, file: Path, kind: str) -> Any:
    """A file as a drag or the clipboard carries it."""
    return page.page.evaluate_handle(FILE, [file.name, kind, base64.b64encode(file.read_bytes()).decode()])


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_picture_that_is_pasted_or_dropped_is_asked_about_and_its_text_is_boxed(
    page: Page, sign: Path, way: str
) -> None:
    files = carried(page, sign, "image/png")
    if way == "paste":
        page.page.evaluate(
            "(files) => document.querySelector('#ask textarea').dispatchEvent("
            "new ClipboardEvent('paste', {clipboardData: files, bubbles: true, cancelable: true}))",
            files,
        )
    else:
        page.page.dispatch_event("#ask textarea", "drop", {"dataTransfer": files})
    page.page.wait_for_selector("#ask .thumbnail-item")
    page.ask("What text is on sign number 3?")
    page.answered("It is 3.")
    page.wait_for("EXIT 7", "#evidence-list")
    page.page.click("#evidence-list button:has-text('EXIT 7')")
    page.page.wait_for_selector("#evidence-list .box[aria-current=true]")
    assert pytest.approx([20 / 300, 30 / 200, 280 / 300, 110 / 200], abs=0.01) in page.drawn()
    assert page.complaints == []


def test_recording_from_the_microphone_is_asked_about(page: Page) -> None:
    page.page.click("#ask .microphone-button")
    page.page.click("#ask .record-button")
    page.page.wait_for_timeout(1500)
    page.page.click("#ask .stop-button")
    page.page.click("#ask [aria-label='Attach audio']")
    page.page.wait_for_selector("#ask .thumbnail-item")
    page.ask("Where does the train leave?")
    page.answered("From platform four.")
    page.wait_for(SPOKEN[0][0], "#evidence-list")
    page.page.wait_for_selector("#evidence-list audio")
    assert page.complaints == []


def test_photo_and_film_of_the_camera_are_asked_about(page: Page) -> None:
    page.page.click("button:has-text('Camera')")
    page.page.click("#camera-photo [title='grant webcam access']")
    page.page.wait_for_function("document.querySelector('#camera-photo video')?.videoWidth > 0")
    page.page.click("#camera-photo .capture-button")
    page.page.wait_for_selector("#ask .thumbnail-item")
    page.page.click("#camera-film [title='grant webcam access']")
    page.page.evaluate(RECORDED)
    page.page.click("#camera-film .capture-button")
    page.page.wait_for_function("window.recorded > 20000")  # a busy machine is slow to encode
    page.page.wait_for_timeout(3000)  # the microphone that is none beeps now and then
    page.page.click("#camera-film .capture-button")
    page.page.wait_for_function("document.querySelectorAll('#ask .thumbnail-item').length === 2")
    page.ask("Where does the train leave?")
    page.answered("From platform four.")
    page.wait_for(SPOKEN[0][0], "#evidence-list")  # the film has sound
    assert page.page.locator("#evidence-list figure:has(img) .box").count() == 2  # the photo has its own boxes
    for _ in range(2):
        page.page.click(f"#evidence-list button:has-text('{SPOKEN[1][0]}')")
        page.page.wait_for_function("document.querySelector('#evidence-list video')?.currentTime > 0.5")
        page.page.click("#evidence-list button:has-text('cup') >> nth=0")
        page.page.wait_for_selector("#evidence-list .box[aria-current=true]")
    assert page.complaints == []


def test_film_has_subtitles_and_a_click_in_its_transcript_seeks(page: Page, tmp_path: Path) -> None:
    film = tmp_path / "clip.webm"
    film.write_bytes(mux("webm", "libvpx", "libopus", size=(320, 240)))
    page.ask("Where does the train leave?", film)
    page.answered("From platform four.")
    page.page.wait_for_function("document.querySelector('#evidence-list video')?.textTracks[0]?.cues?.length === 2")
    cues = page.page.evaluate(
        "[...document.querySelector('#evidence-list video').textTracks[0].cues]"
        ".map((cue) => [cue.text, cue.startTime, cue.endTime])"
    )
    assert cues == [list(cue) for cue in SPOKEN]
    for text, begin, _ in (SPOKEN[1], SPOKEN[0], SPOKEN[1]):
        page.page.click(f"#evidence-list button:has-text('{text}')")
        page.page.wait_for_function(
            "(at) => Math.abs(document.querySelector('#evidence-list video').currentTime - at) < 0.05", arg=begin
        )
    assert page.complaints == []


def test_silent_recording_is_answered_with_nothing_heard_and_the_session_goes_on(page: Page, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    silence.write_bytes(wav(np.zeros((16_000, 1), np.int16), 16_000))
    page.ask("What is number 1?", silence)
    page.answered("It is 1.")
    page.page.click("#chat :text('How it was answered')")
    page.page.click("#chat :text('speech · 0 findings')")
    page.wait_for("nothing found")
    page.ask("What is number 2?", EXAMPLES / "photo.jpg")
    page.answered("It is 2.")
    assert page.complaints == []


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("holiday.png", lambda: b"this is no picture", "'holiday.png' is text, not an image"),
        ("cut.png", lambda: picture()[:400], "'cut.png'"),
        ("bomb.png", lambda: bomb_png(50_000, 50_000), "'bomb.png'"),
        (
            "large.png",
            lambda: picture("PNG", np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8)),
            "1.0 MB",
        ),
    ],
)
def test_bad_file_is_told_in_a_toast_and_the_session_goes_on(
    page: Page, tmp_path: Path, name: str, data: Any, told: str
) -> None:
    file = tmp_path / name
    file.write_bytes(data())
    page.ask("What is in the picture?", file)
    line = page.toast(name)
    assert told in line and "request" in line
    assert "accepted" in line
    assert str(tmp_path) not in line and "Traceback" not in line
    assert page.page.input_value("#ask textarea") == "What is in the picture?"  # and nobody has to type it again
    page.page.click("#ask .thumbnail-item button")
    page.ask("What is number 5?", EXAMPLES / "photo.jpg")
    page.answered("It is 5.")


def test_upload_over_the_limit_and_empty_question_are_told_and_the_session_goes_on(page: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(5 << 20))
    with page.page.expect_file_chooser() as chooser:
        page.page.click("#ask .upload-button")
    chooser.value.set_files([str(large)])
    assert "size" in page.toast("size").lower()
    page.page.fill("#ask textarea", "")
    page.page.press("#ask textarea", "Enter")
    page.toast("the question is empty")
    page.ask("What is number 6?", EXAMPLES / "photo.jpg")
    page.answered("It is 6.")


def test_example_of_the_gallery_is_in_the_box_with_its_file_at_a_click(page: Page) -> None:
    page.page.click("#chat button:has-text('What is in the picture?')")
    page.page.wait_for_selector("#ask .thumbnail-item")
    page.page.wait_for_function("document.querySelector('#ask textarea').value === 'What is in the picture?'")
    page.page.press("#ask textarea", "Enter")
    page.answered("It stands on a wooden table.")
    assert page.complaints == []
