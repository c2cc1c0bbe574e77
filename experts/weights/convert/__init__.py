"""Published weights -> the layouts that the experts read.

Imports experts.config, experts.errors and experts.weights.
"""
