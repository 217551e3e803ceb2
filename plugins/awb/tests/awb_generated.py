"""A camera's tuning made up here, in the layout of libcamera's files, for tests that need no published one."""

import json

import numpy as np

SENSORS = ("imx219", "imx477")
GRIDS = {"pisp": (32, 32), "vc4": (12, 16)}


def tuning_content(target):
    rows, columns = GRIDS[target]
    y, x = np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)
    falloff = (x**2 + y**2).round(4)
    table = lambda strength: (1.5 + strength * falloff).ravel().tolist()  # noqa: E731
    red, green, blue = (1.8, -0.6, -0.2), (-0.3, 1.7, -0.4), (0.0, -0.7, 1.7)
    parts = {
        "rpi.awb": {
            "ct_curve": [2500, 1.0, 0.3, 3500, 0.75, 0.42, 4600, 0.58, 0.55, 5900, 0.48, 0.66, 8000, 0.4, 0.75],
            "sensitivity_r": 1.0,
            "sensitivity_b": 1.05,
            "transverse_pos": 0.02,
            "transverse_neg": 0.03,
        },
        "rpi.ccm": {
            "ccms": [
                {"ct": 3000, "ccm": [*red, *green, *blue]},
                {"ct": 6000, "ccm": [*red, *green, 0.0, -0.5, 1.5]},
            ]
        },
        "rpi.alsc": {
            "luminance_strength": 0.8,
            "luminance_lut": table(1.0),
            "calibrations_Cr": [{"ct": 3000, "table": table(0.1)}, {"ct": 5000, "table": table(0.2)}],
            "calibrations_Cb": [{"ct": 3000, "table": table(0.05)}, {"ct": 5000, "table": table(0.02)}],
        },
        "rpi.lux": {
            "reference_shutter_speed": 20000,
            "reference_gain": 1.0,
            "reference_aperture": 1.0,
            "reference_lux": 900,
            "reference_Y": 12000,
        },
    }
    algorithms = [{name: values} for name, values in parts.items()]
    return {"version": 2.0, "target": "pisp" if target == "pisp" else "bcm2835", "algorithms": algorithms}


def write_tunings(folder):
    """``folder/TARGET/SENSOR.json`` for each target and sensor."""
    for target in GRIDS:
        (folder / target).mkdir(parents=True)
        for sensor in SENSORS:
            (folder / target / f"{sensor}.json").write_text(json.dumps(tuning_content(target)))
