"""The learnable interface: any multimodal language model, ours or another, and how ours is trained.

Imports experts only.
"""
