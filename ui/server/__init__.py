"""For other programs: an OpenAI-compatible server, and the tools over MCP.

Imports agent and experts.
"""
