"""What several pages draw: evidence on media, steps as a timeline, two answers side by side.

Imports ui.app, agent and experts.
"""
