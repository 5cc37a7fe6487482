"""What operations and accesses cost on the shift-and-add array, under two sets of assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from profiler.simulators.shiftadd_tiling import ArrayLimits, Level, Operand, Operator, UnitCosts

Preset = Literal["shiftaddnas2022", "consistent"]
Bits = Literal[32, 8]

CLOCK_HZ = 250e6
"""ShiftAddNAS, get_unit_energy: 250 MHz, the upper end of Eyeriss' core clock (JSSC 2017)."""

COMPUTE_PJ: Mapping[Bits, Mapping[Operator, float]] = {
    32: {"multiply": 3.7, "add": 0.9, "shift": 0.13},
    8: {"multiply": 0.2, "add": 0.03, "shift": 0.024},
}
"""45 nm: Horowitz, ISSCC 2014 (fp32, int8); shift: You et al., ShiftAddNet, NeurIPS 2020."""

MULTIPLY_PJ = 3.7
"""The energy that Eyeriss' relative costs of an access are relative to, as ShiftAddNAS takes it."""

SHIFT_WEIGHT_BITS = 5
"""A sign and a power of two (Elhoushi et al., DeepShift, 2019), as ShiftAddNAS counts them."""

_PUBLISHED_SHIFT_BITS = 10
"""The whole part of the mean of 16 and 5 bits: what ShiftAddNAS moves for every operand of a shift layer."""

_WORD_BITS = 16
"""The width of the accesses that the relative costs are of: Chen et al., Eyeriss, ISCA 2016, Table IV."""


def array_limits(preset: Preset, bits: Bits) -> ArrayLimits:
    """Processing elements and memories at a word width.

    12 x 14 PEs (Eyeriss), registers of 12 inputs, 960 weights and 16 outputs, a buffer of 65536 words,
    all at 32 bits; at 8 bits four times the PEs, and twice (``shiftaddnas2022``) or four times
    (``consistent``: as many bits) the words. ShiftAddNAS demands *fewer* than most of these and more
    than one PE along the output's rows. Its code as published has 12 x 16 PEs, but its records of
    kernels wider than 1 only follow with 12 x 14.
    """
    published = preset == "shiftaddnas2022"
    words = {32: 1, 8: 2 if published else 4}[bits]
    unused = 1 if published else 0
    return ArrayLimits(
        pes=12 * 14 * {32: 1, 8: 4}[bits] - unused,
        input_register=12 * words - unused,
        weight_register=960 * words - unused,
        output_register=16 * words,
        buffer=65536 * words - unused,
        spread_rows=published,
    )


def unit_costs(preset: Preset, operator: Operator, bits: Bits) -> UnitCosts:
    """Costs of one operator; the two presets differ in what surrounds the arithmetic, not in it.

    ``shiftaddnas2022`` is what the paper's records were made with, assumptions included:

    * an *addition* layer is charged nothing for DRAM, buffer and the transport of operands, as if
      everything it needs were in the registers already;
    * a *shift* layer moves 10-bit words (the mean of 16-bit activations and 5-bit weights) where the
      others move 32-bit words, and takes 10/32 of their time on the same PEs;
    * an access to DRAM is 200 pJ, while the other levels are 6, 2 and 1 times 3.7 pJ: DRAM to buffer
      is thus 9 to 1 where Eyeriss has 33 to 1.

    Most of the gap between the operators that these give is not arithmetic: it is that their traffic
    is counted differently. ``consistent`` charges all three alike: the same activations move through
    the same levels at the same cost (200, 6, 2 and 1 times one energy, Eyeriss Table IV, for any
    operand); only weights of shifts are narrower; and a PE takes one cycle for any of them.
    """
    compute = COMPUTE_PJ[bits][operator]
    if preset == "shiftaddnas2022":
        width = _PUBLISHED_SHIFT_BITS if operator == "shift" else bits
        speed = 32 / width if operator == "shift" else 1.0
        access = {key: cost * width / _WORD_BITS for key, cost in _published_pj(operator).items()}
        return UnitCosts(compute, 1 / CLOCK_HZ / speed, access)
    widths = {"input": bits, "weight": SHIFT_WEIGHT_BITS if operator == "shift" else bits, "output": bits}
    relative: dict[Level, float] = {"dram": 200.0, "buffer": 6.0, "noc": 2.0, "register": 1.0}
    operands: tuple[Operand, ...] = ("input", "weight", "output")
    return UnitCosts(
        compute,
        1 / CLOCK_HZ,
        {
            (level, operand): cost * MULTIPLY_PJ * widths[operand] / _WORD_BITS
            for level, cost in relative.items()
            for operand in operands
            if (level, operand) != ("buffer", "weight")  # weights pass by it
        },
    )


def _published_pj(operator: Operator) -> dict[tuple[Level, Operand], float]:
    """pJ an access of 16 bits (ShiftAddNAS, get_unit_energy)."""
    free = operator == "add"
    register = MULTIPLY_PJ
    dram, buffer, noc = (0.0, 0.0, 0.0) if free else (200.0, 6 * MULTIPLY_PJ, 2 * MULTIPLY_PJ)
    return {
        ("dram", "input"): dram,
        ("dram", "weight"): dram,
        ("dram", "output"): dram,
        ("buffer", "input"): buffer,
        ("buffer", "output"): buffer,
        ("noc", "input"): noc,
        ("noc", "weight"): noc,
        ("noc", "output"): MULTIPLY_PJ,
        ("register", "input"): register,
        ("register", "weight"): 2 * register,
        ("register", "output"): register,
    }
