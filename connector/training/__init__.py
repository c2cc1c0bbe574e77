"""How a connector is trained: stages, objectives, one loop, checkpoints.

Imports everything else in connector, and experts.
"""
