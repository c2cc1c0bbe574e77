"""What the connector learns from: records, cut-outs, generated scenes and their questions."""
