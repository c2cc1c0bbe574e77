"""Requests with the tool calls that serve them, for the planner to learn.

Imports connector.data.questions, connector.data.readings, connector.data.records and experts.
"""
