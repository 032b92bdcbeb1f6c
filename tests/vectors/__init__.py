"""The test vectors in docs/vectors: how they are made, and a second reading of the format."""
