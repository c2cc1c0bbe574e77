"""Pictures with known truth: cut-outs with their names, composed into scenes.

Imports connector.encoders and experts.
"""
