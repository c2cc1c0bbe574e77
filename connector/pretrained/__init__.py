"""Any multimodal model that transformers loads, by one generic path: its processor, its chat template, its weights.

`open_pretrained` opens one. Imports connector.base, connector.llm and experts.
"""

from connector.pretrained.loading import open_pretrained

__all__ = ["open_pretrained"]
