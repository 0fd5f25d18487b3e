"""The name of the machine's CPU."""

import platform

import pytest

from stablequant.workflow.provenance import processor

CORE = "processor\t: {}\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nCPU implementer\t: 0x41\n\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CORE.format(0) + CORE.format(1), "2 cores of AMD EPYC (family 25, model 17)"),
        ("model name\t: ARMv7\n", "1 cores of ARMv7"),
        (ARM, platform.processor() or "an unknown CPU"),
        ("", platform.processor() or "an unknown CPU"),
    ],
)
def test_the_cpu_has_its_cores_its_name_and_its_family(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo") == expected
