"""What stores ask for requests, in US dollars for a million, as published; look before relying."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

AS_OF = "November 2026"


class Price(NamedTuple):
    """``writes`` is for PUT and LIST, ``reads`` for GET and HEAD; deleting is free."""

    writes: float
    reads: float

    def of(self, requests: Mapping[str, int]) -> float:
        """Return the dollars for a million times these requests."""
        writes = sum(requests.get(verb, 0) for verb in ("put", "create", "list", "put_file"))
        reads = sum(requests.get(verb, 0) for verb in ("get", "stat", "get_file"))
        return writes * self.writes + reads * self.reads


PRICES: Mapping[str, Price] = {
    "Amazon S3 Standard (us-east-1)": Price(writes=5.00, reads=0.40),
    "Amazon S3 Express One Zone (us-east-1)": Price(writes=1.13, reads=0.03),
    "Cloudflare R2": Price(writes=4.50, reads=0.36),
}
