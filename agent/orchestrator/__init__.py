"""A language model over the experts: it plans, looks, judges and refines.

Imports agent.answering, agent.tools, connector and experts.
"""
