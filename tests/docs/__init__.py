"""What the documents say is run, recomputed and looked up."""
