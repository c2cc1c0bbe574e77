"""Frozen encoders: media -> features [B, N, D_enc], and how a medium of any size meets them.

Imports experts only.
"""
