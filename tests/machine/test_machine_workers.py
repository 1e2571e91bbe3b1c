"""How many loader processes there are: what is set, else what cores and shared memory allow."""

import pytest

from agecls.machine.workers import choose_workers

MB = 10**6


@pytest.mark.parametrize("setting", [0, 1, 5])
def test_a_number_is_taken_as_it_is(setting: int) -> None:
    assert str(choose_workers(setting, 64, batch_bytes=10**9, shared=1)) == f"{setting} (as set)"


@pytest.mark.parametrize(("cores", "expected"), [(1, 0), (2, 0), (3, 1), (8, 6), (10, 8), (128, 8)])
def test_two_cores_are_left_to_the_network(cores: int, expected: int) -> None:
    assert choose_workers("auto", cores).processes == expected


@pytest.mark.parametrize(("trainings", "expected"), [(1, 8), (2, 6), (4, 2), (8, 0)])
def test_trainings_on_one_machine_share_its_cores(trainings: int, expected: int) -> None:
    chosen = choose_workers("auto", 16, trainings=trainings)
    assert chosen.processes == expected
    assert ("16 cores for" in chosen.why) == (trainings > 1)


@pytest.mark.parametrize(
    ("shared", "expected"), [(None, 6), (1000 * MB, 6), (120 * MB, 6), (119 * MB, 5), (64 * MB, 3), (10 * MB, 0)]
)
def test_batches_of_all_workers_fit_into_half_of_shared_memory(shared: int | None, expected: int) -> None:
    chosen = choose_workers("auto", 8, batch_bytes=5 * MB, shared=shared)
    assert chosen.processes == expected
    assert chosen.processes * 2 * 5 * MB <= (shared or 10**12) / 2
    assert ("would take 6, but /dev/shm has" in chosen.why) == (expected < 6)
