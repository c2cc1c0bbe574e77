"""The learnable interfaces: features [B, N, D_enc] -> soft tokens [B, M, D_llm], or layers inside the language model.

Imports connector.encoders, connector.llm and experts.
"""
