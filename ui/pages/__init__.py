"""The pages of the app, one module each, and what several of them draw."""
