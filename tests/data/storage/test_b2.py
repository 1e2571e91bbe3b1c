"""A bucket over B2's own HTTP interface: what it gives and takes, and one message for each thing that may be wrong."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from b2_server import BUCKET, B2Server, Keys

from agecls.data.storage.b2 import open_bucket
from agecls.data.storage.store import ChangedError, PassingError, Store
from agecls.errors import StorageError

PART = 200_000


@pytest.fixture
def server() -> Iterator[B2Server]:
    with B2Server(PART) as running:
        yield running


@pytest.fixture
def bucket(server: B2Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    return enter(server, monkeypatch)


def enter(server: B2Server, monkeypatch: pytest.MonkeyPatch, keys: Keys | None = None, name: str = BUCKET) -> Store:
    for variable, value in server.environment(keys).items():
        monkeypatch.setenv(variable, value)
    return open_bucket(name)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def write(bucket: Store, folder: Path, key: str, content: bytes) -> None:
    path = folder / "source"
    path.write_bytes(content)
    bucket.write(path, key, sha1(content))


def content_of(size: int) -> bytes:
    return b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, PART, PART * 4 + 17])
def test_what_is_written_is_found_listed_and_read_again(size: int, bucket: Store, tmp_path: Path) -> None:
    content = content_of(size)
    write(bucket, tmp_path, "runs/a/Zürich 1+%.bin", content)
    found = bucket.find("runs/a/Zürich 1+%.bin")
    assert found is not None
    assert (found.size, found.sha1) == (size, sha1(content))
    assert list(bucket.under("runs/a")) == [found]
    assert b"".join(bucket.read(found)) == content
    assert b"".join(bucket.read(found, 1, size)) == content[1:]
    if size > 1:
        assert b"".join(bucket.read(found, size // 2, size - 1)) == content[size // 2 : -1]


def test_a_name_is_found_as_a_whole_and_a_prefix_lists_every_page(server: B2Server, bucket: Store) -> None:
    for number in range(1203):
        server.put(f"faces/{number:05d}.jpg", b"x")
    server.put("a", b"1")
    server.put("facets", b"2")
    assert bucket.find("faces/0000") is None
    assert bucket.find("zzz") is None
    assert [each.key for each in bucket.under("faces/")] == [f"faces/{number:05d}.jpg" for number in range(1203)]
    assert len(list(bucket.under(""))) == 1205
    assert server.calls.count("b2_list_file_names") == 6


def test_a_large_file_that_broke_off_is_gone_on_with(server: B2Server, bucket: Store, tmp_path: Path) -> None:
    content = content_of(PART * 10)
    server.fail("b2_finish_large_file", status=503)
    with pytest.raises(PassingError, match="busy or out of order"):
        write(bucket, tmp_path, "model", content)
    parts = server.calls.count("upload")
    assert parts >= 9
    write(bucket, tmp_path, "model", content)
    assert server.calls.count("upload") == parts
    assert server.objects()["model"] == content


def test_an_expired_token_is_renewed_whatever_is_asked(server: B2Server, bucket: Store, tmp_path: Path) -> None:
    server.put("object", b"content")
    found = bucket.find("object")
    assert found is not None
    server.expire()
    assert b"".join(bucket.read(found)) == b"content"
    server.expire()
    assert len(list(bucket.under(""))) == 1
    for size in (10, PART * 3):
        server.expire()
        write(bucket, tmp_path, f"new{size}", content_of(size))
    assert server.calls.count("b2_authorize_account") == 5
    assert {len(each) for each in server.objects().values()} == {7, 10, PART * 3}


def test_an_object_of_another_store_that_says_no_sum_has_none(server: B2Server, bucket: Store) -> None:
    server.put("s3", b"abc")
    for file in server.simulator.bucket_name_to_bucket[BUCKET].file_id_to_file.values():
        file.content_sha1 = "none"
    assert [each.sha1 for each in bucket.under("")] == [""]


def test_an_object_that_was_written_anew_or_deleted_is_not_read_as_the_one_that_was_found(
    server: B2Server, bucket: Store
) -> None:
    server.put("object", b"old content")
    found = bucket.find("object")
    assert found is not None
    server.put("object", b"new")
    assert b"".join(bucket.read(found)) == b"old content"
    server.delete("object")
    with pytest.raises(ChangedError, match="is gone, or has become another one"):
        list(bucket.read(found))


@pytest.mark.parametrize(
    ("fault", "what", "wait"),
    [
        ({"status": 503, "headers": {"Retry_After": "7"}}, "out of order \\(503\\)", 7),
        ({"status": 500}, "out of order \\(500\\)", None),
        ({"status": 429, "code": "too_many_requests", "headers": {"Retry_After": "3"}}, "429", 3),
        ({"status": 408}, "did not answer in time", None),
        ({}, "the connection broke", None),
    ],
)
@pytest.mark.parametrize("call", ["b2_authorize_account", "b2_list_file_names", "b2_download_file_by_id"])
def test_what_may_pass_is_told_as_such_and_asked_once(
    call: str, fault: dict[str, object], what: str, wait: float | None, server: B2Server, bucket: Store
) -> None:
    server.put("object", b"content")
    if call == "b2_download_file_by_id":
        found = bucket.find("object")
        assert found is not None
    server.fail(call, **fault)
    with pytest.raises(PassingError, match=what) as raised:
        _ = list(bucket.read(found)) if call == "b2_download_file_by_id" else bucket.find("object")
    assert raised.value.wait == wait
    assert server.calls.count(call) == 1
    assert bucket.find("object") is not None


@pytest.mark.parametrize("after", [0, 1, 100_000])
def test_a_body_that_ends_early_is_never_taken_for_the_whole(after: int, server: B2Server, bucket: Store) -> None:
    content = content_of(2_500_000)
    server.put("object", content)
    found = bucket.find("object")
    assert found is not None
    server.fail("b2_download_file_by_id", after=after)
    pieces: list[bytes] = []
    with pytest.raises(PassingError, match=r"broke|less than"):
        pieces.extend(bucket.read(found))
    assert content.startswith(b"".join(pieces))
    assert b"".join(bucket.read(found, 2_000_000)) == content[2_000_000:]


@pytest.mark.parametrize("size", [100, PART * 3])
def test_an_upload_outlives_a_burst_of_faults_or_ends_with_a_word(
    size: int, server: B2Server, bucket: Store, tmp_path: Path
) -> None:
    server.fail("upload", status=503, times=2)
    server.fail("upload", times=1)
    write(bucket, tmp_path, "object", content_of(size))
    assert server.objects()["object"] == content_of(size)
    server.fail("upload", status=503, times=1000)
    with pytest.raises(PassingError, match="busy"):
        write(bucket, tmp_path, "other", content_of(size))
    assert "other" not in server.objects()


def test_a_file_that_became_another_one_is_not_sent_under_the_old_sum(
    server: B2Server, bucket: Store, tmp_path: Path
) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"new")
    with pytest.raises(PassingError, match="has changed while it was read"):
        bucket.write(path, "object", sha1(b"old"))
    assert server.objects() == {}


def test_a_large_file_that_is_replaced_on_its_way_arrives_as_it_was(
    server: B2Server, bucket: Store, tmp_path: Path
) -> None:
    before, after = content_of(PART * 12), bytes(PART * 12)
    path, other = tmp_path / "source", tmp_path / "other"
    path.write_bytes(before)
    other.write_bytes(after)
    with server.lock:  # no request is answered before the file is another one
        sending = threading.Thread(target=bucket.write, args=(path, "object", sha1(before)))
        sending.start()
        while not server.calls:
            pass
        other.replace(path)
    sending.join()
    assert path.read_bytes() == after
    assert server.objects()["object"] == before


@pytest.mark.parametrize(
    ("allowed", "what", "capability"),
    [
        (["listFiles", "readFiles", "writeFiles"], "may not look up b2://faces", "listBuckets"),
        (["listBuckets", "readFiles", "writeFiles"], "may not list b2://faces", "listFiles"),
        (["listBuckets", "listFiles", "writeFiles"], "may not read b2://faces", "readFiles"),
        (["listBuckets", "listFiles", "readFiles"], "may not write b2://faces", "writeFiles"),
    ],
)
def test_what_the_key_may_not_do_is_said_with_the_capability(
    allowed: list[str], what: str, capability: str, server: B2Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("object", b"content")

    def use(bucket: Store) -> None:
        found = bucket.find("object")
        assert found is not None
        assert b"".join(bucket.read(found)) == b"content"
        write(bucket, tmp_path, "object", b"new")

    with pytest.raises(StorageError, match=what) as raised:
        use(enter(server, monkeypatch, server.make_key(allowed)))
    assert raised.value.got == f"it has no capability {capability} there"
    assert server.objects() == {"object": b"content"}


def test_a_key_for_one_bucket_and_prefix_works_there_and_is_refused_elsewhere(
    server: B2Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.make_bucket("other")
    server.put("data/a", b"1")
    server.put("secret", b"2")
    capabilities = ["listFiles", "readFiles", "writeFiles"]  # not listBuckets: what the key is limited to is known
    keys = server.make_key(capabilities, [BUCKET], "data/")
    bucket = enter(server, monkeypatch, keys)
    for size in (1, PART * 3):
        write(bucket, tmp_path, f"data/{size}", content_of(size))
    assert len(list(bucket.under("data/"))) == 3
    for ask in (
        lambda: bucket.find("secret"),
        lambda: list(bucket.under("")),
        lambda: write(bucket, tmp_path, "x", b""),
    ):
        with pytest.raises(StorageError, match="may not") as raised:
            ask()
        assert raised.value.got == "it is limited to names that begin with data/"
    with pytest.raises(StorageError, match="limited to other buckets than b2://other"):
        enter(server, monkeypatch, keys, "other").find("data/a")


def test_a_permission_that_was_taken_away_is_the_servers_to_refuse(
    server: B2Server, bucket: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bucket.find("object") is None
    server.fail("b2_list_file_names", status=401, code="unauthorized")
    with pytest.raises(StorageError, match="may not list"):
        bucket.find("object")


@pytest.mark.parametrize("keys", [Keys("005nobody", "K005nothing"), Keys("", "")])
def test_wrong_keys_and_none_are_told_apart(keys: Keys, server: B2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    what = "does not know this application key" if keys.id else "needs an application key"
    with pytest.raises(StorageError, match=what):
        enter(server, monkeypatch, keys).find("object")


def test_a_key_that_is_deleted_meanwhile_is_said_to_be(server: B2Server, bucket: Store) -> None:
    assert bucket.find("object") is None
    server.expire()
    del server.simulator.key_id_to_key[server.keys.id]
    with pytest.raises(StorageError, match="does not know this application key"):
        bucket.find("object")


def test_keys_of_a_file_may_end_in_a_line_break(server: B2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert enter(server, monkeypatch, Keys(server.keys.id + "\n", f" {server.keys.key}\n")).find("x") is None


def test_a_bucket_that_does_not_exist_is_said_to_be_missing(server: B2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="there is no bucket b2://nowhere"):
        enter(server, monkeypatch, name="nowhere").find("object")


@pytest.mark.parametrize("size", [10, PART * 3])
def test_no_room_and_other_caps_are_told_apart(size: int, server: B2Server, bucket: Store, tmp_path: Path) -> None:
    for code, what in (("storage_cap_exceeded", "there is no room in"), ("transaction_cap_exceeded", "a cap on")):
        server.fail("upload", status=403, code=code, times=9)
        with pytest.raises(StorageError, match=what):
            write(bucket, tmp_path, "object", content_of(size))
        server.faults.clear()
    assert server.objects() == {}


@pytest.mark.parametrize("key", ["a\nb", "a//b", "/a", "a/", "x" * 251, "a/" * 600 + "b", "\x7f"])
@pytest.mark.parametrize("size", [1, PART * 3])
def test_a_name_that_b2_does_not_take_is_refused_before_anything_is_sent(
    key: str, size: int, server: B2Server, bucket: Store, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="takes no object of this name"):
        write(bucket, tmp_path, key, content_of(size))
    assert not [call for call in server.calls if "upload" in call or "large" in call]


@pytest.mark.parametrize("realm", ["http://example.com", "ftp://127.0.0.1", "staging", "api.backblazeb2.com"])
def test_keys_are_sent_nowhere_unencrypted(realm: str, server: B2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(server, monkeypatch)
    monkeypatch.setenv("B2_REALM", realm)
    with pytest.raises(StorageError, match="B2_REALM is no address"):
        open_bucket(BUCKET)


def test_b2_endpoint_is_another_name_of_the_realm(server: B2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(server, monkeypatch)
    monkeypatch.delenv("B2_REALM")
    monkeypatch.setenv("B2_ENDPOINT", server.url + "/")
    assert open_bucket(BUCKET).find("object") is None


def test_an_address_where_something_else_answers_is_said_to_be_none_of_b2(
    server: B2Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = enter(server, monkeypatch)
    server.fail("b2_authorize_account", status=404, code="page")
    with pytest.raises(StorageError, match="cannot list b2://faces/object") as raised:
        bucket.find("object")
    assert "B2_REALM" in raised.value.remedy


def test_an_address_where_nothing_answers_may_pass(server: B2Server, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(server, monkeypatch)
    monkeypatch.setenv("B2_REALM", "http://127.0.0.1:1")
    with pytest.raises(PassingError, match="the connection broke"):
        open_bucket(BUCKET).find("object")


def test_many_threads_share_one_bucket(server: B2Server, bucket: Store, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            (tmp_path / str(number)).mkdir()
            write(bucket, tmp_path / str(number), f"n/{number}", content_of(1000 + number))
            found = bucket.find(f"n/{number}")
            assert found is not None
            assert b"".join(bucket.read(found)) == content_of(1000 + number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert len(server.objects()) == 24
    assert server.calls.count("b2_authorize_account") == 1
