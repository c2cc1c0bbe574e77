"""What is asked, with true answers: about scenes and text alone; captions, preference pairs.

Imports connector.data.pictures, connector.llm and experts.
"""
