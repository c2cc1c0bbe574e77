"""A language model over the experts: it plans, looks, judges and refines.

Imports agent.answering, agent.toolbox, connector and experts.
"""
