"""Benchmarks by name, and a person's own questions as one.

Imports connector.data and experts.
"""
