"""The stores of the stories: a folder and a bucket of Ceph's."""

from __future__ import annotations

from support.places import given_project, given_seeds

__all__ = ["given_project", "given_seeds"]
