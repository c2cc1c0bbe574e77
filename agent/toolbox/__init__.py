"""Experts and connector as tools: called by name, by plans, by LangChain.

Imports agent.answering, connector and experts.
"""
