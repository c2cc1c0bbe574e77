"""Route auto as a router: measured on rows of both routes, and its policy fitted to them.

Imports agent.answering.fallback and the rest of agent.evaluation.
"""
