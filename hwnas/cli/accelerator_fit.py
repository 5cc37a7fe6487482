"""``hwnas accelerator fit``: fits a GPU's roofline to matrix products measured on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.console import emit, guarded
from hwnas.cli.options import DevicesOption, JsonOption


@guarded
def fit(
    device: Annotated[str, typer.Argument(help="A simulated device of the engine gpu-roofline to start from.")],
    points: Annotated[Path, typer.Option("--points", help="CSV with columns batch,M,K,N,latency_ms, measured.")],
    name: Annotated[str, typer.Option("--name", help="What the fitted device is called.")],
    out: Annotated[Path, typer.Option("--out", help="Registry to add it to; if missing, a copy.")] = Path(
        "devices.yaml"
    ),
    devices: DevicesOption = None,
    json: JsonOption = False,
) -> None:
    """Fit a GPU to measured products.

    Launch time and efficiencies are fitted, and the device that comes out is registered.
    Its estimates are called calibrated, with the error on products left out of the fit.
    """
    from hwnas.measured_products import read_measured_products
    from profiler import add_device, load_devices
    from profiler.errors import SimulationError
    from profiler.simulators.device import SimulatedDevice
    from profiler.simulators.roofline import Parameters
    from profiler.simulators.roofline_fit import fit as fit_roofline

    registry = load_devices(devices)
    start = registry.get(device)
    if not isinstance(start, SimulatedDevice) or not isinstance(start.engine_parameters, Parameters):
        raise SimulationError(f"{device!r} runs {start.runtime}; only devices of the engine gpu-roofline can be fitted")
    measured = read_measured_products(points)
    fitted = fit_roofline(start.engine_parameters, measured, points.name)
    document = fitted.model_dump(mode="json")
    description = f"{start.description}; fitted to {len(measured)} products of {points.name}"
    fields: dict[str, object] = {
        "kind": "simulated",
        "description": description,
        "engine": start.engine,
        "parameters": document,
    }
    if start.host is not None:
        fields["host"] = start.host.model_dump(mode="json")
    add_device(out, name, fields, registry.path)  # a new file would hide the devices known so far
    assert fitted.calibration is not None
    error = fitted.calibration.held_out_error
    emit(
        {"file": str(out), "name": name, **fields},
        json,
        f"{name} is in {out}: launch {fitted.launch_us:.3g} us, {100 * fitted.compute_efficiency:.3g} % of its"
        f" arithmetic and {100 * fitted.memory_efficiency:.3g} % of its bandwidth;"
        f" mean error {100 * error:.1f} % on products left out of the fit",
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: hwnas accelerator fit a100 --points gemms.csv --name my-a100")(fit)
