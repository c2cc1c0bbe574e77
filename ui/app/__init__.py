"""The app in the browser: pages, what several pages draw, words in two languages.

Imports ui.votes, agent and experts.
"""
