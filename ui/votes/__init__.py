"""The arena's memory: battles, votes, batches, and their exchange with files.

Imports agent, connector.data and experts.
"""
