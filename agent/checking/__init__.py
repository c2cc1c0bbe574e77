"""What an answer claims, held against what the experts found.

Imports agent.answer, agent.clock, agent.context, agent.expert_calls, agent.answering.fallback and experts.
"""
