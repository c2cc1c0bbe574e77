"""How a medium of any size meets an encoder of one size: direct scaling, or patch division (survey, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image

from experts.errors import MediaError
from experts.media import Audio, Image


@dataclass(frozen=True)
class Views:
    """Which square views of an image the encoder sees: one global view, then `tiles` x `tiles` parts of it, row by row.

    With `tiles` = 0 this is direct scaling: the whole image at `size_px`, nothing else. Otherwise it is patch division:
    the image scaled to `tiles` * `size_px` is cut into tiles that keep local detail, after a downsampled global view.
    """

    size_px: int
    tiles: int = 0

    @property
    def count(self) -> int:
        """V, the number of views of an image."""
        return 1 + self.tiles**2

    def cut(self, image: Image) -> np.ndarray:
        """The views of `image`, uint8 [V, size_px, size_px, 3]."""
        whole = image.to_pil()
        views = [np.asarray(_scaled(whole, self.size_px))]
        if self.tiles:
            side = self.tiles * self.size_px
            pixels = np.asarray(_scaled(whole, side))  # [tiles * size, tiles * size, 3]
            grid = pixels.reshape(self.tiles, self.size_px, self.tiles, self.size_px, 3).swapaxes(1, 2)
            views.extend(grid.reshape(-1, self.size_px, self.size_px, 3))
        return np.stack(views)


@dataclass(frozen=True)
class Windows:
    """Which stretches of a sound the encoder hears: one of `seconds`, then `tiles` more. What is short is filled up."""

    seconds: float
    tiles: int = 0

    @property
    def count(self) -> int:
        """V, the number of windows of a sound."""
        return 1 + self.tiles

    def cut(self, audio: Audio) -> np.ndarray:
        """The windows of `audio`, float32 [V, seconds * 16,000].

        Raises:
            MediaError: it is longer than all windows together: nothing is cut off in silence.
        """
        length = round(self.seconds * Audio.RATE_HZ)
        if len(audio.samples) > self.count * length:
            raise MediaError(
                f"'{audio.name}' lasts {audio.duration_s:.0f} s; {self.count} windows of {self.seconds:g} s hold "
                f"{self.count * self.seconds:g} s: shorten it or use more windows (tiles)"
            )
        whole = np.zeros(self.count * length, np.float32)
        whole[: len(audio.samples)] = audio.samples
        return whole.reshape(self.count, length)


def _scaled(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
    return image.resize((side, side), PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)
