"""What the reader is made of: where lines are, what each says, and in which order they are read.

Imports nothing else of Duet.
"""
