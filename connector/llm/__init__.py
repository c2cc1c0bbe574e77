"""The language model: loaded once, shared by both routes; its prompts, and decoding under a grammar.

Imports experts only.
"""
