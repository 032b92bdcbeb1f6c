"""Requests that only ``init`` and ``doctor`` need: to make a bucket, and to read its settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tclog.errors import StoreUnfit, TclogError, UsageError, to_run
from tclog.store.base import not_forward
from tclog.store.probe import Fact
from tclog.store.s3._boto3 import Boto3Plane
from tclog.store.s3.failures import RequestError, at_server, explain
from tclog.store.s3.raised import boto3_failure
from tclog.store.s3.settings import REGION, S3Settings, aws_domain, check

# The words for a life-cycle rule that removes objects of the project.
REMOVES = "remove or archive objects of this project"
_NEW_BUCKET = r"(?!.*\.\.|[\d.]+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"


def _plane(settings: S3Settings, environ: Mapping[str, str]) -> Boto3Plane:
    try:
        return Boto3Plane(check(settings), environ)
    except RequestError as error:
        raise explain(error.failure, settings) from error


def check_new_bucket(bucket: str) -> None:
    """Refuse a name that no new bucket can have.

    Raises:
        UsageError: the name breaks the rules of AWS.
    """
    if not re.fullmatch(_NEW_BUCKET, bucket):
        raise UsageError(
            f"there is no bucket {bucket!r}, and the name is not valid for a new one: 3 to 63"
            " characters, each of a to z, 0 to 9, - and .",
            code="bad-store",
            hint="tclog init s3://bucket/prefix --create-bucket",
        )


def create_bucket(settings: S3Settings, environ: Mapping[str, str]) -> bool:
    """Make the bucket; False if this account has it already.

    Raises:
        StoreError: it cannot be made.
    """
    plane = _plane(settings, environ)
    region: Any = settings.signed_for
    placed: dict[str, Any] = {"CreateBucketConfiguration": {"LocationConstraint": region}}
    at_aws = settings.server.endswith(aws_domain(region))
    try:
        try:
            where = placed if at_aws and region != REGION else {}
            plane.client.create_bucket(Bucket=settings.bucket, **where)
        except plane.errors as error:
            # Some other servers want the region too, and some know none.
            if at_aws or boto3_failure(error).code != "IllegalLocationConstraintException":
                raise
            plane.client.create_bucket(Bucket=settings.bucket, **placed)
    except plane.errors as error:
        failure = boto3_failure(error)
        if failure.code == "BucketAlreadyOwnedByYou":
            return False
        if failure.code == "InvalidBucketName":
            check_new_bucket(settings.bucket)
        raise explain(failure, settings) from error
    return True


def bucket_settings(settings: S3Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Read the settings of a bucket that `doctor` reports.

    A setting that the server does not show is reported as unknown, never guessed.
    """
    plane = _plane(settings, environ)
    client = plane.client
    bucket = settings.bucket

    def read(what: Callable[[], str], absent: str) -> str:
        try:
            return what()
        except plane.errors as error:
            failure = boto3_failure(error)
            return absent if failure.status == 404 else f"unknown ({failure.code or 'no answer'})"

    def public() -> str:
        rules = client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        return "blocked" if rules and all(rules.values()) else "not blocked"

    def rules() -> str:
        found = client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
        active = [row for row in found if row.get("Status") == "Enabled"]
        removing = sum(_removes(row, f"{settings.prefix}/") for row in active)
        told = f"{len(active)} active rules" if active else "none"
        return f"{told}; {removing} of them {REMOVES}" if removing else told

    def locked() -> str:
        found = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
        if found.get("ObjectLockEnabled") != "Enabled":
            return "off"
        return "on, by default for all objects" if found.get("Rule") else "on"

    return {
        "versioning": read(
            lambda: client.get_bucket_versioning(Bucket=bucket).get("Status", "off").lower(), "off"
        ),
        "object lock": read(locked, "off"),
        "lifecycle": read(rules, "none"),
        "public access": read(public, "no block is set"),
    }


def facts(settings: S3Settings, environ: Mapping[str, str], *, fit: bool) -> list[Fact]:
    """Return what ``doctor`` prints about a bucket's settings; see ``Kind.facts``."""
    rows = []
    for name, detail in bucket_settings(settings, environ).items():
        if detail.endswith(REMOVES):
            error = StoreUnfit(
                f"{detail}; objects that they remove from the bucket {settings.bucket} are lost",
                code="store-expires",
                hint=to_run(
                    "aws s3api get-bucket-lifecycle-configuration --bucket",
                    settings.bucket,
                    then=at_server(settings.endpoint),
                ),
            )
            rows.append(Fact(name, error.message, ok=False, error=error))
        else:
            # Versioning is no fault where the server creates as it should all the same.
            rows.append(Fact(name, detail, ok=fit or (name, detail) != ("versioning", "enabled")))
    return rows


def _removes(rule: Any, prefix: str) -> bool:
    """Whether a rule removes or moves objects below a prefix; one for tagged objects does not."""
    chosen = rule.get("Filter") or {}
    chosen = chosen.get("And", chosen)
    begins = rule.get("Prefix") or chosen.get("Prefix") or ""
    moves = {"Days", "Date"} & (rule.get("Expiration") or {}).keys() or rule.get("Transitions")
    if not moves or chosen.get("Tag") or chosen.get("Tags"):
        return False
    return prefix.startswith(begins) or begins.startswith(prefix)


def check_pages(settings: S3Settings, environ: Mapping[str, str], keys: Sequence[str]) -> None:
    """Refuse a server that does not continue where a page of a listing ended.

    Args:
        settings: how the bucket is reached.
        environ: where the credentials are looked up.
        keys: all keys in one folder, in order.

    Raises:
        StoreUnfit: the pages, of two keys each, do not show them all.
    """
    folder = keys[0].rpartition("/")[0]
    try:
        rows = _plane(settings, environ).page(folder, "", len(keys) + 1, page_max=2)
    except RequestError as error:
        raise explain(error.failure, settings) from error
    if [row.key for row in rows] != list(keys):
        raise not_forward(settings.bucket, folder)


def region_of(settings: S3Settings, environ: Mapping[str, str]) -> str:
    """Return a bucket's region, "" if the server does not say."""
    try:
        plane = _plane(settings, environ)
        answer: Any = plane.client.head_bucket(Bucket=settings.bucket)
    except TclogError:
        return ""
    except plane.errors as error:
        answer = getattr(error, "response", {})
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region", ""))


def name_cause(error: StoreUnfit, settings: S3Settings, environ: Mapping[str, str]) -> None:
    """Add to an unfit server's error that versioning is on: Ceph RGW then ignores conditions."""
    try:
        told = bucket_settings(settings, environ)
    except TclogError:
        return  # the error says enough without it
    if told["versioning"] != "enabled":
        return
    if told["object lock"].startswith("on"):
        error.message += (
            "; Object Lock keeps versioning on in this bucket, and some servers (Ceph RGW) then"
            " ignore the condition: use a bucket without Object Lock"
        )
        return
    error.message += (
        "; versioning is on in this bucket, and some servers (Ceph RGW) then ignore the condition:"
        " suspend versioning"
    )
    error.hint = to_run(
        "aws s3api get-bucket-versioning --bucket",
        settings.bucket,
        then=at_server(settings.endpoint),
    )
