"""The look: every text stands out from what is behind it, in light and in dark."""

from __future__ import annotations

import pytest

from ui.app.theme import FINDINGS, PAIRS, contrast, theme


def value(made: object, name: str) -> str:
    """A variable of the theme as #rrggbb, its references followed."""
    found = str(getattr(made, name))
    return value(made, found[1:]) if found.startswith("*") else found


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


@pytest.mark.parametrize("dark", ["", "_dark"])
def test_every_text_of_the_theme_can_be_read(dark: str) -> None:
    made = theme()
    low = {
        pair: round(shown, 2)
        for pair in PAIRS
        if (shown := contrast(value(made, pair[0] + dark), value(made, pair[1] + dark))) < 4.5
    }
    assert low == {}


def test_white_names_can_be_read_on_the_colour_of_every_finding() -> None:
    assert min(contrast("#ffffff", colour) for colour in FINDINGS) >= 4.5
    assert len(set(FINDINGS)) == len(FINDINGS)
