"""Image files -> pictures of [H, W, 3] uint8: headers mended, every page or frame reachable, drawings rasterised.

Imports experts.config, experts.errors and the media door's own modules.
"""
