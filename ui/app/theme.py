"""The app's look: one palette for light and dark, and the pairs of colours that have to stand out from each other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradio.themes.base import Base

INK, PAPER = "#1c2526", "#ffffff"
# Text and what may be behind it: names of the theme's variables, each also with "_dark"
PAIRS = (
    ("body_text_color", "body_background_fill"),
    ("body_text_color", "background_fill_secondary"),
    ("body_text_color_subdued", "body_background_fill"),
    ("body_text_color_subdued", "background_fill_primary"),
    ("body_text_color_subdued", "background_fill_secondary"),
    ("body_text_color_subdued", "block_background_fill"),
    ("input_placeholder_color", "input_background_fill"),
    ("input_placeholder_color", "block_background_fill"),
    ("body_text_color", "input_background_fill"),
    ("block_title_text_color", "block_background_fill"),
    ("block_label_text_color", "block_label_background_fill"),
    ("block_info_text_color", "block_background_fill"),
    ("button_primary_text_color", "button_primary_background_fill"),
    ("button_primary_text_color", "button_primary_background_fill_hover"),
    ("button_secondary_text_color", "button_secondary_background_fill"),
    ("button_secondary_text_color", "button_secondary_background_fill_hover"),
    ("button_cancel_text_color", "button_cancel_background_fill"),
    ("checkbox_label_text_color", "checkbox_label_background_fill"),
    ("checkbox_label_text_color_selected", "checkbox_label_background_fill_selected"),
    ("link_text_color", "body_background_fill"),
    ("link_text_color", "background_fill_secondary"),
    ("link_text_color_hover", "body_background_fill"),
    ("body_text_color", "color_accent_soft"),
)
FINDINGS = (  # --f0 to --f9, behind white text
    "#9f1239", "#0f766e", "#1d4ed8", "#b45309", "#7e22ce", "#15803d", "#be185d", "#0369a1", "#a3420b", "#4d6a0c",
)  # fmt: skip


def theme() -> Base:
    """The theme that pages are served with; no font is fetched from anywhere."""
    import gradio as gr

    made = gr.themes.Default(
        primary_hue="teal",
        neutral_hue="slate",
        radius_size="lg",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
    return made.set(
        body_background_fill="#f6f8f8", body_background_fill_dark="#0f1617",
        body_text_color=INK, body_text_color_dark="#e8eeee",
        body_text_color_subdued="#4d5b5d", body_text_color_subdued_dark="#b3c0c2",
        background_fill_primary=PAPER, background_fill_primary_dark="#172022",
        background_fill_secondary="#eef2f2", background_fill_secondary_dark="#1f2a2c",
        block_background_fill=PAPER, block_background_fill_dark="#172022",
        border_color_primary="#d3dcdd", border_color_primary_dark="#344144",
        block_title_text_color="#334042", block_title_text_color_dark="#d5dfe0",
        block_label_text_color="#334042", block_label_text_color_dark="#d5dfe0",
        block_label_background_fill=PAPER, block_label_background_fill_dark="#172022",
        block_info_text_color="#4d5b5d", block_info_text_color_dark="#b3c0c2",
        input_background_fill=PAPER, input_background_fill_dark="#172022",
        input_placeholder_color="#5c6a6c", input_placeholder_color_dark="#a3b1b3",
        button_primary_background_fill="#0f766e", button_primary_background_fill_dark="#0f766e",
        button_primary_background_fill_hover="#115e59", button_primary_background_fill_hover_dark="#115e59",
        button_primary_text_color=PAPER, button_primary_text_color_dark=PAPER,
        button_secondary_background_fill=PAPER, button_secondary_background_fill_dark="#223033",
        button_secondary_background_fill_hover="#e3eceb", button_secondary_background_fill_hover_dark="#2c3c40",
        button_secondary_text_color=INK, button_secondary_text_color_dark="#e8eeee",
        button_secondary_border_color="#b9c6c7", button_secondary_border_color_dark="#43545a",
        button_cancel_background_fill="#be123c", button_cancel_background_fill_dark="#be123c",
        button_cancel_text_color=PAPER, button_cancel_text_color_dark=PAPER,
        checkbox_label_background_fill=PAPER, checkbox_label_background_fill_dark="#223033",
        checkbox_label_text_color=INK, checkbox_label_text_color_dark="#e8eeee",
        checkbox_label_background_fill_selected="#d5efec", checkbox_label_background_fill_selected_dark="#134e4a",
        checkbox_label_text_color_selected="#0b4f4a", checkbox_label_text_color_selected_dark="#e6fffb",
        link_text_color="#0f6a63", link_text_color_dark="#5eead4",
        link_text_color_hover="#0b4f4a", link_text_color_hover_dark="#99f6e4",
        link_text_color_visited="#0f6a63", link_text_color_visited_dark="#5eead4",
        color_accent_soft="#d9f0ed", color_accent_soft_dark="#123e3b",
    )  # fmt: skip


def style() -> str:
    """The style sheet, with the colours of findings."""
    colours = "".join(f"--f{number}:{colour};" for number, colour in enumerate(FINDINGS))
    ends = "".join(f'#chat a[href^="#evidence-"][href$="{n}"]{{--c:var(--f{n})}}' for n in range(len(FINDINGS)))
    return f":root{{{colours}}}{ends}" + (Path(__file__).parent / "theme.css").read_text(encoding="utf-8")


def contrast(one: str, other: str) -> float:
    """How two colours (#rrggbb) stand out from each other as WCAG 2 counts it: 1 to 21, 4.5 is enough for text."""
    low, high = sorted((_light(one), _light(other)))
    return (high + 0.05) / (low + 0.05)


def _light(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
