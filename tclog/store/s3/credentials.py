"""Credentials: keys from the environment, or the whole AWS chain by botocore.

Both clients get their keys only here. A profile in tclog's settings goes before the keys of the
environment. botocore is loaded only if the environment has no keys to use.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tclog.errors import UsageError
from tclog.store.s3.failures import Failure, RequestError
from tclog.store.s3.raised import boto3_failure
from tclog.store.s3.settings import S3Settings

if TYPE_CHECKING:
    from obstore.store import S3Credential

# Keys that expire are requested again after this time. botocore renews them ten minutes before
# their end; obstore counts keys as expired five minutes before it.
KEPT = timedelta(minutes=1)
_OBSTORE_AHEAD = timedelta(minutes=5)


class Keys(NamedTuple):
    """What a request is signed with."""

    key_id: str
    secret: str
    token: str | None


def keys_in(settings: S3Settings, environ: Mapping[str, str]) -> Keys | None:
    """Return the keys of the environment; None if the settings name a profile."""
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if settings.profile or not key_id or not secret:
        return None
    # The second is the older name; botocore reads it, too.
    token = environ.get("AWS_SESSION_TOKEN") or environ.get("AWS_SECURITY_TOKEN") or None
    return Keys(key_id, secret, token)


def find_credentials(settings: S3Settings, environ: Mapping[str, str]) -> Any:
    """Find botocore's credentials: those of the environment, a profile, SSO, a role, the machine.

    Raises:
        UsageError: there is no such profile.
        RequestError: there are no credentials, or they cannot be loaded.
    """
    import botocore.session
    from botocore.credentials import Credentials
    from botocore.exceptions import BotoCoreError, ProfileNotFound

    keys = keys_in(settings, environ)
    if keys is not None:
        return Credentials(*keys)
    try:
        found = botocore.session.Session(profile=settings.profile).get_credentials()
    except ProfileNotFound as error:
        raise profile_missing(error) from None
    except (BotoCoreError, OSError, ValueError) as error:
        # ValueError: what a credential_process printed is not JSON.
        raise unusable(error) from error
    if found is None:
        raise RequestError(Failure(0, "NoCredentials", "no credentials"))
    return found


def profile_missing(error: Exception) -> UsageError:
    """Return the error for a profile that is in no file."""
    return UsageError(str(error), code="profile-missing", hint="aws configure list-profiles")


def unusable(error: Exception) -> RequestError:
    """Return the failure for an error of botocore before it sent a request."""
    failure = boto3_failure(error)
    unclear = not failure.status and not failure.code
    return RequestError(failure._replace(code="Misconfigured") if unclear else failure)


class Provider:
    """Gives obstore its keys; asked again before they expire.

    The reason of a failure is kept in ``failure``: obstore reports it only as text.
    """

    def __init__(self, found: Any) -> None:
        self.failure: Failure | None = None
        self._found = found

    def __call__(self) -> S3Credential:
        """See obstore's ``S3CredentialProvider``."""
        until = datetime.now(UTC) + _OBSTORE_AHEAD + KEPT
        try:
            key_id, secret, token = self._found.get_frozen_credentials()[:3]
        except Exception as error:
            self.failure = unusable(error).failure
            raise
        self.failure = None
        return {
            "access_key_id": key_id,
            "secret_access_key": secret,
            "token": token,
            "expires_at": until,
        }
