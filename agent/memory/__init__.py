"""What was found and said before, found again by meaning."""
