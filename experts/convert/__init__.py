"""Scripts that turn published weights into the layouts the experts read."""
