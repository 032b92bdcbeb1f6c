"""Any S3-compatible bucket. The only package that names obstore or boto3.

``settings`` has how the bucket is reached, ``store`` which requests are retried. Requests go by
``_obstore``; ``_boto3`` does what obstore cannot. ``raised`` reads the clients' exceptions,
``failures`` turns them into errors. ``bucket`` is for ``init`` and ``doctor``.

Stamps have the resolution of the Last-Modified header: one second.
"""

from tclog.store.s3.settings import S3_KEY_BYTES_MAX, S3Settings
from tclog.store.s3.store import S3Store

__all__ = ["S3_KEY_BYTES_MAX", "S3Settings", "S3Store"]
