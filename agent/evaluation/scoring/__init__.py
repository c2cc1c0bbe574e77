"""What an answer says and whether it is right: parsers, names, metrics.

Imports connector.data and experts.
"""
