"""What helps the detector: nearer looks at parts of a picture, second opinions on a box, an object's own colours.

Imports the media door, the evidence's vocabulary and the tagger; nothing else of the experts.
"""
