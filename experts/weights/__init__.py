"""Weights by name: the catalogue, where each file comes from, and the verified copies on this machine.

Imports experts.config and experts.errors only.
"""
