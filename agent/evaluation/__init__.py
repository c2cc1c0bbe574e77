"""The bench: the same questions to every route, answers parsed by one set of rules, accuracy with its uncertainty.

Imports agent.agent, agent.answering.fallback, connector and experts.
"""
