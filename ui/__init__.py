"""People's and programs' side: the command line now; no model code."""
