"""People's and programs' side: the command line, the app, the server; no model code.

Imports agent, connector and experts.
"""
