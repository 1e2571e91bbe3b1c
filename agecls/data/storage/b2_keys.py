"""Whether the keys of Backblaze B2 that the environment holds are known there, and what they may do."""

import os
from typing import Final

import requests
from b2sdk.v3 import B2HttpApiConfig, InMemoryAccountInfo
from b2sdk.v3.exception import B2Error
from urllib3.exceptions import HTTPError

from agecls import __version__
from agecls.data.storage.b2 import KEY, KEY_ID, OneTryApi, OneTryHttp, OneTrySession, realm_of_environment
from agecls.data.storage.b2_errors import CAPABILITIES, told
from agecls.data.storage.store import PassingError
from agecls.errors import StorageError

SECONDS: Final = 5
"""How long the server may take to connect, and then to answer."""


class _QuickHttp(OneTryHttp):
    """HTTP that does not keep anyone waiting; b2sdk has a time-out for each kind of request."""

    CONNECTION_TIMEOUT = TIMEOUT = TIMEOUT_FOR_COPY = TIMEOUT_FOR_UPLOAD = SECONDS


class _QuickSession(OneTrySession):
    B2HTTP_CLASS = _QuickHttp


class _QuickApi(OneTryApi):
    SESSION_CLASS = _QuickSession


def check_keys() -> str:
    """Ask Backblaze B2 for a token, once, and say what the keys may do; "" where the environment holds none.

    Raises:
        StorageError: one of the two is missing, they are not known, or the server does not answer.
    """
    keys = [os.environ.get(name, "").strip() for name in (KEY_ID, KEY)]
    if not any(keys):
        return ""
    if not all(keys):
        there, missing = (KEY_ID, KEY) if keys[0] else (KEY, KEY_ID)
        raise StorageError(f"{there} is set and {missing} is not", remedy="export both, as they were shown once")
    api = _QuickApi(InMemoryAccountInfo(), api_config=B2HttpApiConfig(user_agent_append=f"agecls/{__version__}"))
    realm = realm_of_environment()
    try:
        api.authorize_account(realm=realm, application_key_id=keys[0], application_key=keys[1])
        allowed = api.account_info.get_allowed()
        may = [doing for doing, capability in CAPABILITIES.items() if capability in allowed["capabilities"]]
        buckets = [bucket["name"] or "one that is gone" for bucket in allowed["buckets"] or ()]
        prefix = allowed["namePrefix"]
    except (B2Error, requests.RequestException, HTTPError, KeyError, TypeError, AttributeError) as error:
        found = told(error, "list", "Backblaze B2", "Backblaze B2")
    else:
        where = f" in {', '.join(buckets)}" if buckets else " in every bucket"
        below = f", names that begin with {prefix}" if prefix else ""
        return f"may {', '.join(may) or 'do nothing that agecls needs'}{where}{below}"
    if isinstance(found, PassingError):
        raise StorageError(
            "Backblaze B2 cannot be reached",
            got=found.what,
            remedy="check the network of this machine and B2_REALM, and try again",
        )
    raise found
