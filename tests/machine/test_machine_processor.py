"""What a processor says of itself."""

from pathlib import Path

import pytest

from agecls.machine.processor import find_processor

INTEL = "processor : 0\nmodel name : Some Xeon\nflags : fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile sse\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd sve bf16 i8mm\n"


@pytest.mark.parametrize(
    ("text", "model", "features"),
    [
        (INTEL * 2, "Some Xeon", ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16")),
        (ARM, None, ("asimd", "sve", "bf16")),
        ("", None, ()),
    ],
)
def test_model_and_features_are_read(tmp_path: Path, text: str, model: str | None, features: tuple[str, ...]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    found = find_processor(tmp_path / "cpuinfo")
    assert found.features == features
    assert found.model == model if model else found.model
    assert 1 <= found.usable <= found.cores


def test_a_system_that_says_nothing_has_a_processor_all_the_same(tmp_path: Path) -> None:
    assert find_processor(tmp_path / "none").model
