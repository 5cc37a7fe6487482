"""A Raspberry Pi's throttling register in words."""

import pytest

from profiler.throttling import advice, meanwhile, named


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x0, ()),
        (0x5, ("under-voltage", "throttled")),
        (0x50000, ()),
        (0xA, ("frequency capped", "soft temperature limit")),
    ],
)
def test_bits_now_have_names(bits: int, names: tuple[str, ...]) -> None:
    assert named(bits) == names


def test_each_has_its_remedy() -> None:
    assert "power supply" in advice(0x5)
    assert "fan" in advice(0x4)


@pytest.mark.parametrize(
    ("registers", "found"),
    [
        ([], 0),
        ([0x50000, 0x50000], 0),  # before anybody looked
        ([0x0, 0x40000], 0x4),
        ([0x50000, 0x70000], 0x2),
        ([0x40004, 0x40000], 0x4),
        ([0x40000, 0x0, 0x40000], 0x4),  # booted anew, then throttled
    ],
)
def test_what_happened_between_looks(registers: list[int], found: int) -> None:
    assert meanwhile(registers) == found
