"""What becomes of an error of Backblaze B2: one sentence for each, none of which repeats what the server or b2sdk said.

Their texts may hold what nobody should read in a log: an upload token, an authorization, an address with a ticket.
So each class of error is told in words of ours, from the class and from a few fields known to be harmless.
"""

import re
from typing import Final, Literal

import requests
from b2sdk.v3 import exception as b2
from urllib3.exceptions import HTTPError

from agecls.data.storage.store import ChangedError, PassingError
from agecls.errors import StorageError

Doing = Literal["look up", "list", "read", "write"]

CAPABILITIES: Final[dict[Doing, str]] = {
    "look up": "listBuckets",
    "list": "listFiles",
    "read": "readFiles",
    "write": "writeFiles",
}
"""What an application key must be allowed to, for each thing to do."""

_NEW_KEY: Final = "make an application key that may, in the bucket's account, and export its id and key"


def wrong_keys() -> StorageError:
    """The error of an application key that B2 does not know."""
    return StorageError(
        "Backblaze B2 does not know this application key",
        got="B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY do not belong together, or the key is deleted or expired",
        remedy="make a new application key, and export both as they are shown once",
    )


def may_not(doing: Doing, where: str) -> StorageError:
    """The error of a key that is not allowed to do what is asked."""
    return StorageError(
        f"the application key may not {doing} {where}",
        got=f"it has no capability {CAPABILITIES[doing]} there",
        remedy=_NEW_KEY,
    )


def told(error: Exception, doing: Doing, where: str, bucket: str) -> Exception:
    """What to raise in place of an error of b2sdk or of the connection below it.

    Args:
        error: what was raised.
        doing: what was tried.
        where: the object, or the beginning of names, that was asked for.
        bucket: the bucket as messages call it, such as ``b2://faces``.
    """
    passing = _passing(error)
    if passing is not None:
        return passing
    match error:
        case b2.MaxRetriesExceeded(exception_info_list=[*_, last]):
            return told(last, doing, where, bucket)
        case b2.RestrictedBucketMissing():
            return StorageError("the bucket that the application key is limited to is gone", remedy=_NEW_KEY)
        case b2.RestrictedBucket():
            return StorageError(f"the application key is limited to other buckets than {bucket}", remedy=_NEW_KEY)
        case b2.NonExistentBucket() | b2.BucketIdNotFound():
            return StorageError(
                f"there is no bucket {bucket}",
                got="the account of this application key has none of that name",
                remedy="check its name, and that the key belongs to the account that owns it",
            )
        case b2.StorageCapExceeded():
            return StorageError(
                f"there is no room in {bucket}", got="the account's storage cap is reached", remedy="raise the cap"
            )
        case b2.CapExceeded():
            return StorageError(
                f"the account of {bucket} has reached a cap on transactions or download",
                remedy="raise the cap, or wait until tomorrow",
            )
        case b2.EmailNotVerified():
            return StorageError("the account's e-mail address is not verified", remedy="verify it at backblaze.com")
        case b2.NoPaymentHistory():
            return StorageError("the account has no payment yet", remedy="see its billing at backblaze.com")
        case b2.InvalidAuthToken():
            return wrong_keys()
        case b2.Unauthorized() | b2.AccessDenied() | b2.NotAllowedByAppKeyError():
            return may_not(doing, where)
        case b2.UnsatisfiableRange() | b2.FileNotPresent():
            return ChangedError(f"{where} is gone, or has become another one", remedy="give the command again")
        case b2.UnusableFileName():
            return StorageError(
                f"Backblaze B2 takes no object of this name: {where}",
                got="too long, or with a control character, an empty part, or a slash at an end",
                remedy="rename the file",
            )
        case b2.MaxFileSizeExceeded():
            return StorageError(f"{where} would be larger than Backblaze B2 takes", remedy="part the file")
        case b2.ClockSkew(clock_skew_seconds=seconds):
            return StorageError(
                "the clock of this machine is wrong",
                got=f"{abs(seconds):.0f} seconds {'behind' if seconds < 0 else 'ahead of'} the server's",
                remedy="set the clock",
            )
    return StorageError(
        f"cannot {doing} {where}",
        got=f"an answer that Backblaze B2 does not give ({_kind(error)})",
        remedy="check B2_REALM: it is the address of B2's own interface, such as https://api.backblazeb2.com, not S3's",
    )


def _passing(error: Exception) -> PassingError | None:
    """The error as one that may go well next time; None for all others."""
    match error:
        case b2.TooManyRequests(retry_after_seconds=wait):
            return PassingError("the server asked for fewer requests (429)", wait)
        case b2.ServiceError(retry_after_seconds=wait):
            status = re.match(r"5\d\d\b", str(error))
            return PassingError(f"the server is busy or out of order ({status[0] if status else '5xx'})", wait)
        case b2.B2RequestTimeout() | b2.RequestTimeout() | requests.Timeout():
            return PassingError("the server did not answer in time")
        case b2.UnknownHost():
            return PassingError("the server's name is not known")
        case b2.ChecksumMismatch() | b2.PartSha1Mismatch() | b2.FileSha1Mismatch():
            return PassingError("other bytes arrived than were sent")
        case b2.BadRequest() if "sha1" in str(error).lower():
            return PassingError("other bytes arrived than were sent")
        case b2.BadUploadUrl() | b2.AlreadyFailed():
            return PassingError("the server wants the upload to begin anew")
        case b2.B2Error() if error.should_retry_http():
            return PassingError("the connection broke")
        case b2.BrokenPipe() | b2.ConnectionReset() | requests.RequestException() | HTTPError():
            return PassingError("the connection broke")
    return None


def _kind(error: Exception) -> str:
    """Which error it was, in words that hold nothing of its text."""
    status = re.match(r"\d{3}\b", str(error))
    return type(error).__name__ + (f", status {status[0]}" if status else "")
