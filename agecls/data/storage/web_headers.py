"""What the headers of a web server's answer say of an object: its version and its checksums."""

import base64
import binascii
import re
from collections.abc import Mapping

from urllib3 import BaseHTTPResponse

from agecls.data.storage.store import Stored


def stored_from(key: str, answer: BaseHTTPResponse, size: int | None, ranges: bool) -> Stored:
    """What the headers say of the object; checksums alone that are of the whole of it."""
    headers = answer.headers
    sums = {"sha1": "", "sha256": _base64_hex(headers.get("x-amz-checksum-sha256", ""), 32), "md5": ""}
    for each in (headers.get("x-bz-content-sha1", ""), headers.get("x-bz-info-large_file_sha1", "")):
        if re.fullmatch("[0-9a-f]{40}", each):
            sums["sha1"] = each
    for given in (headers.get("Repr-Digest", ""), headers.get("Digest", "")):
        for entry in given.split(","):
            algorithm, _, value = entry.strip().partition("=")
            if algorithm.lower() == "sha-256":
                sums["sha256"] = sums["sha256"] or _base64_hex(value.strip(":"), 32)
    if answer.status == 200:  # of a part, Content-MD5 may mean the part
        sums["md5"] = _base64_hex(headers.get("Content-MD5", ""), 16)
    return Stored(key, size, version_from(headers), **sums, ranges=ranges)


def version_from(headers: Mapping[str, str]) -> str:
    """The etag; or B2's id of the file; or the time of the last change; or nothing."""
    return headers.get("ETag") or headers.get("x-bz-file-id") or headers.get("Last-Modified") or ""


def _base64_hex(text: str, length: int) -> str:
    """A checksum in hex; empty where the text is none of so many bytes."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return content.hex() if len(content) == length else ""
