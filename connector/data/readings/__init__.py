"""Questions about evidence: findings drawn at random, their text as the experts route makes it, what follows from it.

Imports connector.data.questions, connector.data.pictures, connector.data.records and experts.
"""
