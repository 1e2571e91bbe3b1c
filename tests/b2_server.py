"""Backblaze B2 on loopback: its native HTTP interface over b2sdk's own simulator, with faults on demand.

    with B2Server() as server:
        server.put("faces/a.jpg", b"...")
        server.fail("b2_list_file_names", status=503, times=3)
        environment = server.environment()

``python tests/b2_server.py`` serves in a process of its own, prints a line of JSON (environment and bucket), and ends
with its standard input. What the simulator leaves open is decided here: who may do what, and ranges.
"""

import base64
import hashlib
import io
import itertools
import json
import re
import secrets
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

from b2sdk._internal.raw_simulator import FileSimulator, KeySimulator
from b2sdk.v3 import ALL_CAPABILITIES, BucketSimulator, RawSimulator
from b2sdk.v3.exception import B2Error, FileNotPresent, FileSha1Mismatch, MissingPart, PartSha1Mismatch

BUCKET = "faces"
CAPABILITIES = {
    "b2_list_buckets": "listBuckets", "b2_list_file_names": "listFiles", "b2_list_unfinished_large_files": "listFiles",
    "b2_get_upload_url": "writeFiles", "b2_start_large_file": "writeFiles", "b2_get_upload_part_url": "writeFiles",
    "b2_list_parts": "writeFiles", "b2_finish_large_file": "writeFiles", "b2_cancel_large_file": "writeFiles",
    "b2_download_file_by_id": "readFiles", "b2_delete_file_version": "deleteFiles", "upload": "writeFiles",
}  # fmt: skip
"""What a key must be allowed to, for each call that is answered here."""


class Refusal(Exception):
    """An answer that is none of success."""

    def __init__(self, status: int, code: str, message: str = "", **headers: str) -> None:
        self.status, self.code, self.message, self.headers = status, code, message, headers
        super().__init__(code)


@dataclass
class Fault:
    """What befalls the next ``times`` requests of a call.

    Attributes:
        call: regular expression that the whole name of the call matches, such as ``b2_.*`` or ``upload``.
        status: HTTP status to answer with; 0 breaks the connection.
        after: bytes of the body that are sent before the connection breaks; None breaks before the answer's first line.
    """

    call: str
    status: int = 0
    times: int = 1
    code: str = ""
    after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


class Keys(NamedTuple):
    id: str
    key: str


class _Bucket(BucketSimulator):  # type: ignore[misc]
    """Without the simulator's limits of 200 uploads and 9,999 files."""

    FIRST_FILE_NUMBER = 999_999_999
    FIRST_FILE_ID = str(FIRST_FILE_NUMBER)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.upload_url_counter = itertools.count()
        self.upload_timestamp_counter = itertools.count(int(time.time() * 1000))

    def _next_file_id(self) -> str:
        return str(next(self.api.file_ids))

    def _simulate_chunked_post(self, stream: io.BytesIO, *_: Any, **__: Any) -> bytes:
        stream.seek(0)
        return stream.read()


class _Simulator(RawSimulator):  # type: ignore[misc]
    BUCKET_SIMULATOR_CLASS = _Bucket

    def __init__(self) -> None:
        super().__init__()
        self.file_ids = itertools.count(_Bucket.FIRST_FILE_NUMBER, -1)  # one series, as file_id_to_bucket_id is one

    def _assert_account_auth(self, *_: Any, **__: Any) -> None:
        """Decided by the server, which knows of each call's bucket."""


class B2Server:
    """A server with one bucket, on a port of its own.

    Args:
        part_size: bytes from which on a file goes up in parts.

    Attributes:
        calls: the name of each request's call, in order.
        stored: the name of each upload, in order.
        basic, tokens: every secret that was sent, by a client and by the server.
    """

    def __init__(self, part_size: int = 1_000_000) -> None:
        self.simulator = _Simulator()
        self.simulator.MIN_PART_SIZE = part_size
        self.lock = threading.RLock()
        self.faults: list[Fault] = []
        self.calls: list[str] = []
        self.tokens: list[str] = []
        self.basic: list[str] = []
        self.stored: list[str] = []
        account, key = self.simulator.create_account()
        self.account = account
        self.master = self.simulator.authorize_account("", account, key)["authorizationToken"]
        self.keys = self.make_key()
        self.make_bucket(BUCKET)
        self.http = _Listener(("127.0.0.1", 0), _Handler)
        self.http.b2 = self
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def environment(self, keys: Keys | None = None) -> dict[str, str]:
        """What agecls reads to come here."""
        used = keys or self.keys
        return {"B2_APPLICATION_KEY_ID": used.id, "B2_APPLICATION_KEY": used.key, "B2_REALM": self.url}

    def make_bucket(self, name: str, *, public: bool = False) -> None:
        """Add an empty bucket."""
        kind = "allPublic" if public else "allPrivate"
        self.simulator.create_bucket(RawSimulator.API_URL, self.master, self.account, name, kind)

    def make_key(
        self,
        capabilities: Sequence[str] = ALL_CAPABILITIES,
        buckets: Sequence[str] | None = None,
        prefix: str | None = None,
    ) -> Keys:
        """Add an application key, limited to capabilities, buckets and beginnings of names."""
        keys = Keys(f"005{secrets.token_hex(11)}", f"K005{secrets.token_urlsafe(20)}")
        ids = [self.simulator.bucket_name_to_bucket[name].bucket_id for name in buckets or ()]
        limits = [{"id": bucket, "name": None} for bucket in ids] if buckets is not None else None
        self.simulator.key_id_to_key[keys.id] = KeySimulator(
            self.account, "made", keys.id, keys.key, list(capabilities), None, limits, prefix
        )
        return keys

    def fail(self, call: str, **fault: Any) -> None:
        """Let the next requests of a call go wrong; see ``Fault``."""
        self.faults.append(Fault(call, **fault))

    def expire(self) -> None:
        """Let every token given so far have expired."""
        with self.lock:
            self.simulator.expired_auth_tokens.update(self.simulator.auth_token_to_key)

    def put(self, name: str, content: bytes, bucket: str = BUCKET, info: dict[str, str] | None = None) -> str:
        """Store an object without HTTP and return the id of this version."""
        with self.lock:
            held = self.simulator.bucket_name_to_bucket[bucket]
            upload = self.simulator.get_upload_url(RawSimulator.API_URL, self.master, held.bucket_id)
            answer = self.simulator.upload_file(
                upload["uploadUrl"], upload["authorizationToken"], name, len(content), "b2/x-auto",
                hashlib.sha1(content).hexdigest(),  # noqa: S324 - B2's own
                info or {}, io.BytesIO(content),
            )  # fmt: skip
        return str(answer["fileId"])

    def delete(self, name: str, bucket: str = BUCKET) -> None:
        """Delete every version of an object."""
        with self.lock:
            held = self.simulator.bucket_name_to_bucket[bucket]
            for known, version in [each for each in held.file_name_and_id_to_file if each[0] == name]:
                held.delete_file_version(self.master, version, known)

    def objects(self, bucket: str = BUCKET) -> dict[str, bytes]:
        """The newest version of every object."""
        with self.lock:
            found: dict[str, bytes] = {}
            for (name, _), file in sorted(
                self.simulator.bucket_name_to_bucket[bucket].file_name_and_id_to_file.items()
            ):
                if file.is_visible():
                    found.setdefault(name, file.data_bytes)
            return found


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    b2: B2Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError | ValueError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def _answer(self, body: bytes) -> None:
        b2 = self.server.b2
        path = urlsplit(self.path).path
        call = path.split("/")[3] if path.startswith("/b2api/") else path.split("/")[1]
        b2.calls.append(call)
        fault = self._fault(call)
        try:
            if fault and not fault.status and fault.after is None:
                self._break()
                return
            if fault and fault.status:
                self._refuse(fault)
            with b2.lock:
                status, headers, content = self._do(call, path, body)
        except Refusal as refusal:
            status, headers = refusal.status, refusal.headers
            told = {"status": status, "code": refusal.code, "message": refusal.message}
            content = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if fault and fault.after is not None:
            self.wfile.write(content[: fault.after])
            self.wfile.flush()
            self._break()
            return
        self.wfile.write(content)

    def _fault(self, call: str) -> Fault | None:
        with self.server.b2.lock:
            for fault in self.server.b2.faults:
                if fault.times and re.fullmatch(fault.call, call):
                    fault.times -= 1
                    return fault
        return None

    def _refuse(self, fault: Fault) -> None:
        # What no server should say, and what must not come through if one does.
        raise Refusal(fault.status, fault.code, f"refused: {self.headers.get('Authorization')}", **fault.headers)

    def _break(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))

    def _do(self, call: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        try:
            if call in ("file", "b2_download_file_by_id"):
                return self._download(call, path)
            answer = self._upload(path, body) if call == "upload" else self._ask(call, json.loads(body or b"{}"))
        except (FileNotPresent, KeyError):
            raise Refusal(404, "not_found", "no such thing") from None
        except (FileSha1Mismatch, PartSha1Mismatch):
            raise Refusal(400, "bad_request", "Sha1 did not match data received") from None
        except MissingPart:
            raise Refusal(400, "missing_part") from None
        except B2Error as error:
            raise Refusal(400, "bad_request", type(error).__name__) from None
        text = json.dumps(answer, default=list).replace(RawSimulator.API_URL, self.server.b2.url)
        text = text.replace(RawSimulator.DOWNLOAD_URL, self.server.b2.url)
        return 200, {"Content-Type": "application/json"}, text.encode()

    def _may(self, call: str, token: str, bucket: str | None = None, name: str | None = None) -> None:
        """Raise what B2 answers to a token that may not do this."""
        simulator = self.server.b2.simulator
        key = simulator.auth_token_to_key.get(token)
        if key is None:
            raise Refusal(401, "bad_auth_token", "Invalid authorization token")
        if token in simulator.expired_auth_tokens:
            raise Refusal(401, "expired_auth_token", "Authorization token has expired")
        limits = [each["id"] for each in key.buckets_or_none or ()]
        outside = bool(limits) and bucket not in (None, *limits)
        misnamed = name is not None and not name.startswith(key.name_prefix_or_none or "")
        if CAPABILITIES.get(call, "none") not in key.capabilities or outside or misnamed:
            raise Refusal(401, "unauthorized", "not entitled")

    def _ask(self, call: str, asked: dict[str, Any]) -> Any:
        b2, api = self.server.b2, RawSimulator.API_URL
        token = self.headers.get("Authorization", "")
        if call == "b2_authorize_account":
            return self._authorize(token)
        file = asked.get("fileId")
        if file is not None and file not in b2.simulator.file_id_to_bucket_id:
            raise Refusal(400, "bad_request", "no such file id")
        bucket = asked.get("bucketId") or (b2.simulator.file_id_to_bucket_id[file] if file else None)
        name = asked.get("prefix", asked.get("fileName"))
        if call == "b2_list_buckets" and (wanted := asked.get("bucketName")):
            found = b2.simulator.bucket_name_to_bucket.get(wanted)
            bucket = found.bucket_id if found else None
        # The other calls are about a file that is known already.
        self._may(call, token, bucket, name or "" if "prefix" in asked or "fileName" in asked else None)
        simulator = b2.simulator
        match call:
            case "b2_list_buckets":
                return simulator.list_buckets(api, token, b2.account, asked.get("bucketId"), asked.get("bucketName"))
            case "b2_list_file_names":
                return simulator.list_file_names(
                    api, token, bucket, asked["startFileName"], asked["maxFileCount"], name
                )
            case "b2_list_unfinished_large_files":
                return simulator.list_unfinished_large_files(api, token, bucket, None, None, asked.get("namePrefix"))
            case "b2_get_upload_url":
                return self._here(simulator.get_upload_url(api, token, bucket))
            case "b2_get_upload_part_url":
                return self._here(simulator.get_upload_part_url(api, token, file))
            case "b2_start_large_file":
                info = asked.get("fileInfo") or {}
                return simulator.start_large_file(api, token, bucket, name, asked["contentType"], info)
            case "b2_list_parts":
                return simulator.list_parts(api, token, file, asked["startPartNumber"], asked["maxPartCount"])
            case "b2_finish_large_file":
                b2.stored.append(simulator.bucket_id_to_bucket[bucket].file_id_to_file[file].name)
                return simulator.finish_large_file(api, token, file, asked["partSha1Array"])
            case "b2_cancel_large_file":
                return simulator.cancel_large_file(api, token, file)
        raise Refusal(400, "bad_request", f"no such call {call}")

    def _authorize(self, header: str) -> Any:
        b2 = self.server.b2
        key_id, _, key = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        b2.basic.append(header)
        try:
            answer = b2.simulator.authorize_account("", key_id, key)
        except B2Error:
            raise Refusal(401, "unauthorized", f"applicationKeyId {key_id} or applicationKey {key} is wrong") from None
        b2.tokens.append(answer["authorizationToken"])
        return answer

    def _here(self, answer: dict[str, Any]) -> dict[str, Any]:
        return {
            **answer,
            "uploadUrl": answer["uploadUrl"].replace("https://upload.example.com", f"{self.server.b2.url}/upload"),
        }

    def _upload(self, path: str, body: bytes) -> Any:
        simulator, token = self.server.b2.simulator, self.headers.get("Authorization", "")
        url = f"https://upload.example.com{path.removeprefix('/upload')}"
        real = token.rsplit("/", 1)[-1]
        sha1, size = self.headers["X-Bz-Content-Sha1"], len(body)
        if "/part/" in path:
            bucket = simulator.file_id_to_bucket_id.get(path.split("/")[3])
            self._may("upload", real, bucket)
            part = int(self.headers["X-Bz-Part-Number"])
            return simulator.upload_part(url, token, part, size, sha1, io.BytesIO(body))
        name = unquote(self.headers["X-Bz-File-Name"])
        self._may("upload", real, path.split("/")[2], name)
        prefix = "x-bz-info-"
        info = {
            each.lower().removeprefix(prefix): unquote(value)
            for each, value in self.headers.items()
            if each.lower().startswith(prefix)
        }
        kind = self.headers["Content-Type"]
        self.server.b2.stored.append(name)
        return simulator.upload_file(url, token, name, size, kind, sha1, info, io.BytesIO(body))

    def _download(self, call: str, path: str) -> tuple[int, dict[str, str], bytes]:
        b2 = self.server.b2
        file = self._find(call, path)
        if file is None or not file.is_visible():
            raise Refusal(404, "not_found", "no such file")
        token = self.headers.get("Authorization")
        if token is not None or file.bucket.bucket_type != "allPublic":
            self._may("b2_download_file_by_id", token or "", file.bucket.bucket_id, file.name)
        content, size = file.data_bytes, len(file.data_bytes)
        headers = {k: v for k, v in file.as_download_headers(b2.master).items() if k.lower() != "content-length"}
        headers["ETag"] = file.file_id
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return 200, headers, content
        start = int(asked[1])
        stop = min(int(asked[2]) + 1 if asked[2] else size, size)
        if start >= size:
            raise Refusal(416, "range_not_satisfiable", "beyond the end")
        return 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, content[start:stop]

    def _find(self, call: str, path: str) -> FileSimulator | None:
        simulator = self.server.b2.simulator
        if call == "b2_download_file_by_id":
            version = parse_qs(urlsplit(self.path).query)["fileId"][0]
            bucket = simulator.bucket_id_to_bucket[simulator.file_id_to_bucket_id[version]]
            return bucket.file_id_to_file.get(version)
        _, _, bucket_name, name = path.split("/", 3)
        files: Iterator[Any] = (
            file
            for (known, _), file in sorted(
                simulator.bucket_name_to_bucket[bucket_name].file_name_and_id_to_file.items()
            )
            if known == unquote(name)
        )
        return next(files, None)


if __name__ == "__main__":
    with B2Server() as standalone:
        print(  # noqa: T201
            json.dumps({**standalone.environment(), "bucket": BUCKET}), flush=True
        )
        sys.stdin.read()
