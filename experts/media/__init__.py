"""The one door: images, sound and video by their content, within limits, in fixed units.

Imports experts.config and experts.errors only.
"""

from experts.media.formats import kind_of
from experts.media.media import Audio, Image, Media, Video, open_media
from experts.media.source import Source

__all__ = ["Audio", "Image", "Media", "Source", "Video", "kind_of", "open_media"]
