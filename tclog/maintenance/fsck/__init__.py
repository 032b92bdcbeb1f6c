"""``fsck``: read the whole store and check every object."""
