"""The parts: each measures one thing and writes down every sample."""
