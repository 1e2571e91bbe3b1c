"""A bucket of Backblaze B2 as a store, through b2sdk.

Keys come from the environment alone, and tokens stay in memory. Each method asks the server once: how often to ask
again is decided in one place, by whoever calls a store. An expired token is renewed by b2sdk on the way.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from b2sdk.v3 import (
    B2Api,
    B2Http,
    B2HttpApiConfig,
    B2Session,
    Bucket,
    InMemoryAccountInfo,
    UploadSourceStream,
)
from b2sdk.v3.exception import B2Error, InvalidAuthToken, Unauthorized
from urllib3.exceptions import HTTPError

from agecls import __version__
from agecls.data.storage.b2_errors import CAPABILITIES, Doing, may_not, told, wrong_keys
from agecls.data.storage.held_file import PIECE, HeldFile
from agecls.data.storage.store import PassingError, Store, Stored
from agecls.errors import StorageError

KEY_ID: Final = "B2_APPLICATION_KEY_ID"
KEY: Final = "B2_APPLICATION_KEY"
REALMS: Final = ("B2_REALM", "B2_ENDPOINT")
"""Environment variables with the address of B2's interface; the first one that is set counts."""

PAGE: Final = 1000
"""Names asked for at a time: the most that B2 counts as one transaction."""


# b2sdk warns of answers that it does not know in the server's own words.
warnings.filterwarnings("ignore", module=r"b2sdk\.")


def open_bucket(bucket: str) -> Store:
    """A bucket by its name. Nothing is asked of the server before its first method is.

    Raises:
        StorageError: the environment holds no keys, or an address that keys should not be sent to.
    """
    keys = {name: os.environ.get(name, "").strip() for name in (KEY_ID, KEY)}
    missing = [name for name, value in keys.items() if not value]
    if missing:
        raise StorageError(
            f"b2://{bucket} needs an application key of Backblaze B2",
            got=f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
            remedy=f"export {KEY_ID} and {KEY}; make a key for this bucket at backblaze.com, Application Keys",
        )
    if not bucket:
        raise StorageError("a b2:// address begins with the name of a bucket", remedy="write b2://BUCKET/KEY")
    return _B2Store(bucket, realm_of_environment(), *keys.values())


def realm_of_environment() -> str:
    """Where to authorise: ``production``, or the address that the environment names."""
    name, realm = next(((each, os.environ[each].strip()) for each in REALMS if os.environ.get(each)), ("", ""))
    if realm in ("", "production"):
        return "production"
    address = urlsplit(realm)
    here = address.hostname in ("127.0.0.1", "localhost", "::1")
    if address.scheme == "https" or (address.scheme == "http" and here):
        return realm.rstrip("/")
    raise StorageError(
        f"{name} is no address that keys may be sent to",
        got="neither https:// nor on this machine",
        remedy="unset it for Backblaze's own, or give an address such as https://api.backblazeb2.com",
    )


class OneTryHttp(B2Http):  # type: ignore[misc]
    """HTTP of b2sdk that asks once and does not wait for twenty minutes."""

    CONNECTION_TIMEOUT = 20
    TIMEOUT = TIMEOUT_FOR_COPY = 60
    TIMEOUT_FOR_UPLOAD = 120

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """As b2sdk's, with one try in place of up to twenty with a minute between them."""
        response: requests.Response = super().request(*args, **{**options, "try_count": 1})
        return response


class OneTrySession(B2Session):  # type: ignore[misc]
    """A session that says, of all refusals, which one is the application key's own."""

    B2HTTP_CLASS = OneTryHttp

    def authorize_account(self, realm: str, application_key_id: str, application_key: str) -> None:
        """Get a token; here a refusal is the key's, anywhere else it may be a permission's."""
        try:
            super().authorize_account(realm, application_key_id, application_key)
        except (InvalidAuthToken, Unauthorized) as error:
            if type(error) in (InvalidAuthToken, Unauthorized):
                raise wrong_keys() from None
            raise


class OneTryApi(B2Api):  # type: ignore[misc]
    """b2sdk over such sessions."""

    SESSION_CLASS = OneTrySession


class _B2Store:
    """A bucket; see ``Store``."""

    def __init__(self, bucket: str, realm: str, key_id: str, key: str) -> None:
        self.name = f"b2://{bucket}"
        self._keys = {"application_key_id": key_id, "application_key": key, "realm": realm}
        self._opening = threading.Lock()
        self._bucket: Bucket | None = None
        config = B2HttpApiConfig(user_agent_append=f"agecls/{__version__}")
        self._api = OneTryApi(InMemoryAccountInfo(), api_config=config)

    def find(self, key: str) -> Stored | None:
        """See ``Store``. A name is the first of all that begin with it."""
        page = self._page(key, None, 1)["files"]
        return _stored(page[0]) if page and page[0]["fileName"] == key else None

    def under(self, prefix: str) -> Iterator[Stored]:
        """See ``Store``."""
        begin = None
        while True:
            page = self._page(prefix, begin, PAGE)
            yield from map(_stored, page["files"])
            begin = page["nextFileName"]
            if begin is None:
                return

    def read(self, stored: Stored, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See ``Store``. It is the version that was listed which is read, or none."""
        end = stored.size if stop is None else stop
        if end is None or end <= start:
            return
        with self._telling("read", stored.key):
            self._open("read", stored.key)
            session = self._api.session
            url = session.get_download_url_by_id(stored.version)
            with session.download_file_from_url(url, range_=(start, end - 1)) as response:
                try:
                    if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-{end - 1}/"):
                        raise PassingError("the server sent another range than was asked for")
                    left = end - start
                    for piece in response.iter_content(PIECE):
                        left -= len(piece)
                        if left < 0:
                            raise PassingError("the server sent more than was asked for")
                        yield piece
                    if left:
                        raise PassingError("the server sent less than was asked for")
                finally:
                    response.close()

    def write(self, source: Path, key: str, sha1: str) -> None:
        """See ``Store``. A large file goes in parts; one that broke off is gone on with at its next write."""
        with self._telling("write", key), HeldFile(source) as held:
            # Each part is hashed by itself: only here is it seen that the whole is no longer what it was.
            if held.sha1() != sha1:
                raise PassingError(f"{source} has changed while it was read")
            bucket = self._open("write", key)
            self._api.session.raw_api.check_b2_filename(key)
            bucket.upload(UploadSourceStream(held.open, held.size, sha1), key, large_file_sha1=sha1)

    def _page(self, prefix: str, begin: str | None, count: int) -> dict[str, Any]:
        with self._telling("list", prefix):
            bucket = self._open("list", prefix)
            begin = begin or prefix or None
            page: dict[str, Any] = self._api.session.list_file_names(bucket.id_, begin, count, prefix)
            return page

    def _open(self, doing: Doing, key: str) -> Bucket:
        """The bucket, once it is known that the application key may do this there."""
        with self._opening:
            if self._bucket is None:
                self._api.authorize_account(**self._keys)
                with self._telling("look up", ""):
                    self._bucket = self._api.get_bucket_by_name(self.name.removeprefix("b2://"))
        allowed = self._api.account_info.get_allowed()
        if CAPABILITIES[doing] not in allowed["capabilities"]:
            raise may_not(doing, self.name)
        prefix = allowed["namePrefix"] or ""
        if not key.startswith(prefix):
            raise StorageError(
                f"the application key may not {doing} {self.name}/{key}",
                got=f"it is limited to names that begin with {prefix}",
                remedy="choose such a name, or make a key without that limit",
            )
        return self._bucket

    @contextmanager
    def _telling(self, doing: Doing, key: str) -> Iterator[None]:
        """Turn what b2sdk raises into our errors; nothing of its text, nor the error itself, is kept."""
        try:
            yield
        except (B2Error, requests.RequestException, HTTPError, KeyError, TypeError, AttributeError) as error:
            found = told(error, doing, f"{self.name}/{key}".rstrip("/"), self.name)
        else:
            return
        # In a traceback, the error that this one replaces would be shown with all it says.
        raise found from None


def _stored(answer: dict[str, Any]) -> Stored:
    sha1 = answer.get("contentSha1") or "none"
    if sha1 == "none":
        sha1 = answer.get("fileInfo", {}).get("large_file_sha1", "")
    return Stored(answer["fileName"], answer["contentLength"], answer["fileId"], sha1.removeprefix("unverified:"))
