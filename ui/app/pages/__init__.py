"""The pages of the app, one a file.

Imports ui.app.components, ui.votes, agent and experts.
"""
