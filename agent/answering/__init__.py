"""How a question is answered: the routes, experts at work, when auto falls back.

Imports agent.answer, agent.clock, agent.records, connector and experts.
"""
