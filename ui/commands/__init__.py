"""One small module a command group; ui/cli.py lists them and imports one when it is asked for.

Imports everything below, each inside the command that needs it.
"""
