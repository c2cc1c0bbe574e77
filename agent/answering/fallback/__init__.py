"""When the experts' findings suffice, and when the connector is asked.

Imports agent.answer and experts.
"""
