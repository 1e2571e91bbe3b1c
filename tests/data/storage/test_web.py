import hashlib
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest
from fault_server import Fault, FaultServer

from agecls.data.storage.places import open_store, parse_place
from agecls.data.storage.store import ChangedError, PassingError, Store
from agecls.errors import StorageError, UsageError


def store_of(server: FaultServer) -> Store:
    return open_store(parse_place(server.url("a.bin")), silence=10)


def test_an_object_is_found_with_all_that_its_headers_say() -> None:
    sha1 = hashlib.sha1(b"face", usedforsecurity=False).hexdigest()
    with FaultServer({"a.bin": b"face", "empty": b""}, headers={"x-bz-content-sha1": sha1}) as server:
        store = store_of(server)
        found = store.find("a.bin")
        assert found is not None
        assert (found.size, found.sha1, found.ranges) == (4, sha1, True)
        assert found.version.startswith('"')
        assert b"".join(store.read(found, 1, 3)) == b"ac"
        assert store.find("none") is None
        empty = store.find("empty")
        assert empty is not None
        assert empty.size == 0
        assert list(store.read(empty)) == []
        server.headers["x-bz-content-sha1"] = "none"
        plain = store.find("a.bin")
        assert plain is not None
        assert plain.sha1 == ""


def test_a_server_without_ranges_is_read_from_its_start_and_shows_it() -> None:
    with FaultServer({"a.bin": b"0123456789"}, ranges=False) as server:
        store = store_of(server)
        found = store.find("a.bin")
        assert found is not None
        assert not found.ranges
        assert b"".join(store.read(found, 3, 7)) == b"3456"


@pytest.mark.parametrize(
    "fault",
    [Fault("cut", at=5), Fault("reset", at=5), Fault("stall", at=5), Fault("short length"), Fault("other range"),
     Fault("nonsense"), Fault("status", status=500), Fault("status", status=429)],
)  # fmt: skip
def test_what_may_go_well_another_time_is_told_apart(fault: Fault) -> None:
    with FaultServer({"a.bin": b"0123456789"}, silence=0.2) as server:
        store = store_of(server)
        found = store.find("a.bin")
        assert found is not None
        server.plan([fault])
        with pytest.raises(PassingError):
            list(store.read(found, 1, 10))
        assert b"".join(store.read(found, 1, 10)) == b"123456789"


def test_a_server_that_falls_silent_is_not_waited_for() -> None:
    with FaultServer({"a.bin": b"0123456789"}, silence=30.0) as server:
        found = store_of(server).find("a.bin")
        assert found is not None
        server.plan([Fault("stall", at=5)])
        begun = time.monotonic()
        with pytest.raises(PassingError, match="fallen silent"):
            list(open_store(parse_place(server.url("a.bin")), silence=0.3).read(found))
        assert time.monotonic() - begun < 20


def test_the_server_says_how_long_to_leave_it_alone() -> None:
    with FaultServer({"a.bin": b"x"}) as server:
        server.plan([Fault("status", status=503, retry_after="17")])
        with pytest.raises(PassingError) as told:
            store_of(server).find("a.bin")
    assert told.value.wait == 17


def test_another_version_is_told_from_the_one_that_was_found() -> None:
    with FaultServer({"a.bin": b"0123456789"}, later={"a.bin": b"9876543210"}) as server:
        store = store_of(server)
        found = store.find("a.bin")
        assert found is not None
        server.plan([Fault("change")])
        with pytest.raises(ChangedError):
            list(store.read(found, 5, 10))


def test_redirections_are_followed_to_safe_places_alone() -> None:
    with FaultServer({"a.bin": b"x", "far/b.bin": b"yy"}) as server:
        server.links = {"one": "/two", "two": "far/b.bin", "ring": "ring", "ftp": "ftp://127.0.0.1/x"}
        store = store_of(server)
        found = store.find("one")
        assert found is not None
        assert found.size == 2
        with pytest.raises(StorageError, match="in a circle"):
            store.find("ring")
        with pytest.raises(StorageError, match="no web address"):
            store.find("ftp")
        server.links["out"] = "http://example.invalid/secret"
        with pytest.raises(UsageError):
            store.find("out")


def test_an_encoded_answer_is_refused_but_for_what_old_servers_call_so() -> None:
    with FaultServer({"a.csv": b"x", "a.tar.gz": b"x"}, headers={"Content-Encoding": "gzip"}) as server:
        store = store_of(server)
        with pytest.raises(StorageError, match="encoded"):
            store.find("a.csv")
        assert store.find("a.tar.gz") is not None


def test_a_port_where_nothing_listens_and_a_host_that_is_none_have_messages_of_their_own() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(StorageError, match="refuses the connection"):
            open_store(parse_place(f"http://127.0.0.1:{port}/a")).find("a")
    with pytest.raises((StorageError, PassingError), match=r"no host|cannot be resolved"):
        open_store(parse_place("https://nothing.invalid/a"), silence=5).find("a")
    # A store without a list or a way in says so.
    with FaultServer({}) as server:
        with pytest.raises(StorageError, match="does not list"):
            store_of(server).under("")
        with pytest.raises(StorageError, match="takes no files"):
            store_of(server).write(Path("x"), "x", "")


def test_a_certificate_that_nobody_vouches_for_is_refused_and_taken_once_somebody_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"],
        capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")

    def answer(listening: socket.socket) -> None:
        for _ in range(2):
            plain, _ = listening.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as encrypted:
                    encrypted.recv(4096)
                    encrypted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nface")
            except ssl.SSLError:
                plain.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        place = parse_place(f"https://localhost:{listening.getsockname()[1]}/a")
        with pytest.raises(StorageError, match="certificate of localhost"):
            open_store(place, silence=5).find("a")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        found = open_store(place, silence=5).find("a")
        assert found is not None
        assert found.size == 4
        thread.join()
