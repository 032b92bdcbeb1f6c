"""Bounds on time, tries and sizes of requests to a bucket. Read as ``limits.NAME``."""

CONNECT_TIMEOUT_S = 3
REQUEST_TIMEOUT_S = 4
# A request is retried only until this much time has passed, so that a dead endpoint is reported
# within fifteen seconds.
AGAIN_WITHIN_S = 4.0
TRIES_MAX = 4
# One part of an upload; a download may take any time as long as bytes arrive.
PART_TIMEOUT_S = 600
DOWNLOAD_TIMEOUT_S = 86_400
SILENCE_MAX_S = 8
DELETE_MAX = 1000
RECORD_BYTES_MAX = 1 << 20
PART_BYTES = 8 << 20
PARTS_AT_ONCE = 4
# Pages of one listing, empty ones among them: more than ten million objects.
PAGES_MAX = 10_000
# So many keys of other programs are kept to be told of.
SKIPPED_MAX = 1000
