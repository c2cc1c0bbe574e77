"""What is asked, with true answers: about scenes, findings, recordings and plans; captions, preference pairs.

Imports connector.data.pictures, connector.llm and experts.
"""
