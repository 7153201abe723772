"""The folder of one pre-training, which survives being killed at any point. Beside what every `TrainingFolder` has:

checkpoints/00001000/state/           weights and moments after 1000 steps, as the backend writes them
checkpoints/00001000/data-00000.json  where host 0 was in the data
checkpoints/00001000/checkpoint.json  the step, and size and sha256 of every file; without it there is no checkpoint
pictures/00001000.png                 sources, masked targets, what the model makes of them, and the truth
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json, write_json
from rvm_bench.formats.hashes import file_sha256
from rvm_bench.runs.training_folder import TrainingFolder
from rvm_bench.rvm.train.trainer import Trainer

CHECKPOINTS, PICTURES, SUMMARY = "checkpoints", "pictures", "checkpoint.json"
_UNFINISHED = ".unfinished"


class PretrainingFolder(TrainingFolder):
    """What a pre-training keeps on disk; every process has one, and one of them writes."""

    kind: ClassVar[str] = "training"

    def save(self, step: int, trainer: Trainer, data: Mapping[str, Any], keep: int) -> None:
        """A checkpoint after `step` updates; of the earlier ones the last `keep` - 1 stay. All processes call it."""
        unfinished, whole = self.path / CHECKPOINTS / _UNFINISHED, self.path / CHECKPOINTS / f"{step:08d}"
        if trainer.leads:
            self._clear()
            unfinished.mkdir(parents=True)
        trainer.wait()
        trainer.save(unfinished / "state")
        index, hosts = trainer.host
        write_json(unfinished / _data_of(index), dict(data))
        trainer.wait()
        if trainer.leads:
            self.sync_log()
            files = {
                file.relative_to(unfinished).as_posix(): {"bytes": file.stat().st_size, "sha256": file_sha256(file)}
                for file in sorted(unfinished.rglob("*"))
                if file.is_file()
            }
            write_json(unfinished / SUMMARY, {"step": step, "hosts": hosts, "files": files})
            if whole.exists():
                shutil.rmtree(whole)
            unfinished.rename(whole)
            for old in checkpoints(self.path)[:-keep]:
                shutil.rmtree(old)
        trainer.wait()

    def resume(self, trainer: Trainer) -> tuple[int, dict[str, Any] | None]:
        """Restores the last checkpoint; its step and this host's place in the data, or (0, None) where there is none.

        What was left out of the data is shared anew among the hosts where their number has changed.

        Raises:
            UserError: the checkpoint is damaged.
        """
        found = checkpoints(self.path)
        trainer.wait()
        if not found:
            return 0, None
        if trainer.leads:
            check_files(found[-1])
        trainer.wait()
        trainer.restore(found[-1] / "state")
        summary = read_json(found[-1] / SUMMARY)
        places = [read_json(found[-1] / _data_of(host)) for host in range(summary["hosts"])]
        index, hosts = trainer.host
        if hosts == len(places):
            return summary["step"], places[index]
        total = sum(place["left_out"] for place in places)
        first = next((place["first_left_out"] for place in places if place["first_left_out"]), None)
        left_out = total // hosts + (index < total % hosts)
        return summary["step"], {**places[0], "left_out": left_out, "first_left_out": first}

    def add_picture(self, step: int, picture: np.ndarray) -> None:
        """Writes a picture, uint8 RGB [h, w, 3], here and to where TensorBoard shows it."""
        from PIL import Image

        (self.path / PICTURES).mkdir(exist_ok=True)
        Image.fromarray(picture).save(self.path / PICTURES / f"{step:08d}.png")
        self.show("reconstruction", picture, step)

    def _clear(self) -> None:
        shutil.rmtree(self.path / CHECKPOINTS / _UNFINISHED, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a training, the last one last."""
    return sorted(file.parent for file in (folder / CHECKPOINTS).glob(f"[0-9]*/{SUMMARY}"))


def check_files(checkpoint: Path) -> None:
    """Raises UserError, with its name, where a file of a checkpoint is missing or not as it was written."""
    for name, facts in read_json(checkpoint / SUMMARY)["files"].items():
        file = checkpoint / name
        if not file.is_file() or file.stat().st_size != facts["bytes"] or file_sha256(file) != facts["sha256"]:
            raise UserError(
                f"{file} is missing or damaged; delete {checkpoint} to go on from the checkpoint before it, or from "
                "the start"
            )


def _data_of(host: int) -> str:
    return f"data-{host:05d}.json"
