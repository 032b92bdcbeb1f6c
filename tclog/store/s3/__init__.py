"""Any S3-compatible bucket. The only package that names obstore or boto3.

``settings`` has how the bucket is reached, ``resolve`` finds each setting, ``store`` has which
requests are retried. Requests go by ``_obstore``; ``_boto3`` does what obstore cannot. ``raised``
reads the clients' exceptions, ``failures`` turns them into errors. ``bucket`` is for ``init`` and
``doctor``.

Stamps have the resolution of the Last-Modified header: one second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tclog.store.base import Kind, Store
from tclog.store.s3.settings import S3Settings
from tclog.store.s3.store import S3Store

if TYPE_CHECKING:
    from tclog.store import Location
    from tclog.store.probe import Fact

__all__ = ["KIND", "S3Settings", "S3Store"]


class Buckets(Kind):
    """Stores in buckets, each project under a prefix of its own."""

    mark_kept_s = 900.0

    def reach(self, location: Location, environ: Mapping[str, str]) -> Location:
        """See ``Kind``."""
        from tclog.store.s3.resolve import resolve, said_of

        settings = resolve(said_of(location), environ).settings
        return location._replace(settings=settings, server=settings.endpoint or "")

    def open(
        self,
        location: Location,
        environ: Mapping[str, str],
        *,
        create: bool,  # noqa: ARG002 - a bucket is made by ``make``
    ) -> Store:
        """See ``Kind``."""
        return S3Store(location.settings, environ)

    def open_outer(self, location: Location, environ: Mapping[str, str]) -> Store:
        """See ``Kind``."""
        prefix = location.settings.prefix.rpartition("/")[0]
        return S3Store(location.settings._replace(prefix=prefix), environ)

    def make(self, location: Location, environ: Mapping[str, str]) -> bool:
        """See ``Kind``."""
        from tclog.store.s3.bucket import create_bucket

        create_bucket(location.settings, environ)
        return True

    def may_make(self, location: Location) -> bool:
        """See ``Kind``."""
        from tclog.store.s3.bucket import check_new_bucket

        check_new_bucket(location.settings.bucket)
        return True

    def written(self, location: Location) -> Mapping[str, str | None]:
        """See ``Kind``."""
        effective: S3Settings = location.settings
        usual = effective._replace(addressing=None)
        return {
            "endpoint": effective.endpoint,
            "region": effective.region,
            "profile": effective.profile,
            "client": location.said.get("client"),
            "addressing": None if effective.virtual == usual.virtual else effective.addressing,
            # Other machines keep certificates elsewhere: only if tclog was told to use it.
            "ca_bundle": location.said.get("ca_bundle"),
            "checksum": effective.checksum,
            "sse": effective.sse,
            "sse_kms_key": effective.sse_kms_key,
            "request_payer": "true" if effective.request_payer else None,
        }

    def sources(
        self, location: Location, environ: Mapping[str, str]
    ) -> Mapping[str, tuple[str | None, str | None]]:
        """See ``Kind``."""
        from tclog.store.s3.resolve import told

        return told(location, environ)

    def facts(self, location: Location, environ: Mapping[str, str], *, fit: bool) -> Sequence[Fact]:
        """See ``Kind``."""
        from tclog.store.s3.bucket import facts

        return facts(location.settings, environ, fit=fit)


KIND = Buckets()
