"""The one door: images, sound and video by their content, within limits, in fixed units.

Imports experts.config and experts.errors only.
"""

from experts.media.door import Audio, Image, Media, Source, Video, kind_of, open_media

__all__ = ["Audio", "Image", "Media", "Source", "Video", "kind_of", "open_media"]
