"""200 schedules of faults, drawn at random: each ends in the right bytes or in a clear error, never in wrong bytes."""

import hashlib
import random
from collections import Counter
from pathlib import Path

import pytest
from fault_server import FAULTS, Fault, FaultServer

from agecls.data.storage.checksums import Checksum
from agecls.data.storage.fetch import Fetcher, Wanted
from agecls.data.storage.places import open_store, parse_place
from agecls.data.storage.records import FOLDER, Records
from agecls.data.storage.retry import Patience
from agecls.data.storage.transfer import Manner
from agecls.errors import StorageError

SCHEDULES = 200
PATIENCE = Patience(first=0.001, longest=0.004, longest_asked=0.02, attempts=4, silence=0.2)


class Killed(Exception):
    """Ends a fetch in the middle, as a signal would."""


def fetch(server: FaultServer, folder: Path, chance: random.Random, *, sum_given: str, die_after: int | None) -> Path:
    """Fetch ``object`` as ``agecls pull`` does; die after so many pieces where asked to."""
    pieces = 0

    def advance(count: int) -> None:
        nonlocal pieces
        pieces += count > 0
        if die_after is not None and pieces > die_after:
            raise Killed

    manner = Manner(
        connections=chance.randint(1, 4), part=chance.choice((700, 2000, 9000)), alone=0.0, patience=PATIENCE
    )
    store = open_store(parse_place(server.url("object")), silence=PATIENCE.silence, connections=4)
    records = Records(folder)
    fetcher = Fetcher(store, records, manner, lambda line: None, advance)
    found = fetcher.find("object")
    if found is None:
        raise StorageError("not there")
    given = (Checksum("sha256", sum_given, "--sha256"),) if sum_given else fetcher.beside("object", "object")
    try:
        return fetcher.fetch(Wanted(found, "object", given)).path
    finally:
        records.save()


@pytest.mark.parametrize("batch", range(4))
def test_every_schedule_of_faults_ends_in_the_right_bytes_or_a_clear_error(batch: int, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    struck: Counter[str] = Counter()
    for number in range(batch * SCHEDULES // 4, (batch + 1) * SCHEDULES // 4):
        chance = random.Random(number)
        content = chance.randbytes(chance.choice((0, 1, 700, 1400, 5000, 20_000)))
        later = chance.randbytes(len(content)) if chance.random() < 0.5 else chance.randbytes(3000)
        server = FaultServer(
            {"object": content},
            later={"object": later},
            ranges=chance.random() < 0.8,
            etags=chance.random() < 0.8,
            block=chance.choice((100, 1000, 1 << 16)),
        )
        # Who says what the bytes must be; where nobody does, a wrong byte cannot be told from a right one.
        judge = chance.choice(("beside", "beside", "given", "nobody"))
        if judge == "beside":
            server.add_sums()
        kinds = [kind for kind in FAULTS if judge != "nobody" or kind not in ("flip", "change")]
        faults = [
            Fault(
                chance.choice(kinds),
                at=chance.randrange(6000),
                status=chance.choice((429, 500, 502, 503)),
                retry_after=chance.choice(("", "0", "1")),
            )
            if chance.random() < 0.6
            else None
            for _ in range(chance.randrange(12))
        ]
        struck.update(fault.kind for fault in faults if fault)
        folder = tmp_path / str(number)
        folder.mkdir()
        target = folder / "object"
        die_after = chance.choice((None, None, 0, 1, 3))
        given = hashlib.sha256(content).hexdigest() if judge == "given" else ""
        with server:
            server.plan(faults)
            try:
                try:
                    fetch(server, folder, chance, sum_given=given, die_after=die_after)
                except Killed:
                    assert not target.exists()
                    fetch(server, folder, chance, sum_given=given, die_after=None)
                assert target.read_bytes() in (content, later), f"schedule {number} ends in wrong bytes"
                if given:
                    assert target.read_bytes() == content
                assert not list((folder / FOLDER).glob("*.part")), f"schedule {number} leaves a part"
                ends["right"] += 1
            except StorageError:
                assert not target.exists(), f"schedule {number} leaves a file and an error"
                ends["error"] += 1
    assert ends["right"] >= 25, ends
    assert ends["error"] >= 1, ends
    assert set(struck) == set(FAULTS), "a fault that never struck was not tried"
