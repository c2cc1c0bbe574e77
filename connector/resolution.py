"""How an image of any size meets an encoder of one size: direct scaling, or patch division (survey, section 2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import PIL.Image

from experts.media import Image


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


def _scaled(image: PIL.Image.Image, side: int) -> PIL.Image.Image:
    return image.resize((side, side), PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)
