"""A language model over the experts: it plans, looks, judges and refines."""
