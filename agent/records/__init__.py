"""What is kept: findings, traces, and a memory that is searched by meaning; all in small SQLite files.

Imports agent.answer, agent.clock and experts.
"""
