"""The readout tasks with constants with which a fit takes a second."""

import dataclasses
import json

from readouts.tasks.kinetics import KineticsTask
from readouts.tasks.perception_test import PerceptionTask
from readouts.tasks.scannet import ScanNetTask
from readouts.tasks.ssv2 import SSv2Task
from readouts.tasks.waymo import WaymoTask
from rvm_bench.fetch.load import load_encoder
from rvm_bench.fetch.locate import data_folder

TASKS = {
    "ssv2": SSv2Task,
    "kinetics": KineticsTask,
    "scannet": ScanNetTask,
    "perception_test": PerceptionTask,
    "waymo": WaymoTask,
}
SMALL = {
    "side_px": 32,
    "params": 16,
    "heads": 2,
    "learning_rates": (1e-3,),
    "steps": 6,
    "warmup_steps": 1,
    "batch": 4,
    "held_out_least": 2,
}
TRACKING = {
    name: {"width": 8, "bases": 2, "steps": 4, "batch": 2, "held_out_least": 1} for name in ("perception_test", "waymo")
}
"""Further constants of the tracking tasks."""
HEADLINES = {"ssv2": "top1", "kinetics": "top1", "scannet": "AbsRel", "perception_test": "AJ", "waymo": "mIoU"}
SCORED = {"ssv2": 4, "kinetics": 4, "scannet": 2, "perception_test": 2, "waymo": 2}
"""Videos of the scored split of the copies."""
OFFICIAL = {"ssv2": 24_777, "kinetics": 34_125, "scannet": 312, "perception_test": 73, "waymo": 202}


def as_options(constants):
    """`--set` options of the command line."""
    for name, value in constants.items():
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()
        yield from ("--set", f"{name}={text}")


def opened(name, copies, **changes):
    """A task with the small constants, and its data set."""
    task = TASKS[name]()
    task.protocol = dataclasses.replace(task.protocol, **(SMALL | TRACKING.get(name, {}) | changes))
    return task, task.open(data_folder(task, copies))


def fitted(name, copies, folder, **changes):
    """The same after its head was fitted on pixels."""
    task, dataset = opened(name, copies, **changes)
    task.fit(load_encoder("pixels", device="cpu"), folder)
    return task, dataset


def result_of(path):
    """The folder of the only run below a path, and its result."""
    (file,) = path.glob("runs/*/*/result.json")
    return file.parent, json.loads(file.read_text())
