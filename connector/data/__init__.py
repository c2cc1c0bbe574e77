"""What the connector learns from: records, cut-outs, generated scenes and their questions.

Imports connector.encoders, connector.llm and experts.
"""
