"""The folder of one fit, which survives being killed at any point. Beside what every `TrainingFolder` has:

checkpoint.safetensors  parameters, moments and counters at some step; replaced atomically, deleted when the fit is done
readout.safetensors     the chosen readout under the released names
fit.json                every replica's held-out score, the choice and its rule, time and speed
"""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import xxhash
from torch import Tensor

from readouts.fitting.feature_store import Cache
from readouts.fitting.optim import FitConfig
from readouts.fitting.sampling import Source
from readouts.fitting.tensor_files import save_atomically
from readouts.heads.replicated import Sizes
from readouts.losses import Measure, Selection
from rvm_bench.api.encoder import Encoder
from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json, write_json
from rvm_bench.formats.hashes import file_sha256
from rvm_bench.runs.fingerprint import code_of, code_sha256, numerics
from rvm_bench.runs.training_folder import TrainingFolder

CHECKPOINT, READOUT, SUMMARY = "checkpoint.safetensors", "readout.safetensors", "fit.json"


class FitFolder(TrainingFolder):
    """The files of a fit."""

    kind: ClassVar[str] = "fit"

    def finished(self) -> dict[str, Any] | None:
        """The content of fit.json; None where the fit is not finished.

        Raises:
            UserError: the readout beside it is missing or damaged.
        """
        if not (self.path / SUMMARY).exists():
            return None
        summary = read_json(self.path / SUMMARY)
        readout = self.path / READOUT
        if not readout.exists() or file_sha256(readout) != summary["readout_sha256"]:
            raise UserError(f"{readout} is missing or damaged; delete {self.path} and fit again")
        return summary

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and counters of the last checkpoint; None where there is none.

        Raises:
            UserError: it is damaged, or belongs to a fit of another identity.
        """
        from safetensors import SafetensorError, safe_open

        file = self.path / CHECKPOINT
        if not file.exists():
            return None
        try:
            with safe_open(file, "pt") as content:
                facts = json.loads(content.metadata()["rvm_bench"])
                tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
            intact = facts["checksum"] == _checksum(tensors)
        except (SafetensorError, KeyError, TypeError, ValueError):
            intact = False
        if not intact:
            raise UserError(f"{file} is damaged; delete it to fit from the start")
        if facts["identity"] != self.fingerprint:
            raise UserError(f"{file} is of another fit ({facts['identity'][:12]}, not {self.fingerprint[:12]})")
        return tensors, facts

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Replaces the checkpoint. The log is synced first, so that it is never behind the checkpoint."""
        self.sync_log()
        tensors = {name: tensor.detach().cpu() for name, tensor in tensors.items()}
        facts = {**facts, "identity": self.fingerprint, "checksum": _checksum(tensors)}
        save_atomically(self.path / CHECKPOINT, tensors, facts)

    def log(self, step: int, names: Sequence[str], losses: Sequence[float | None], rates: Sequence[float]) -> None:
        """Appends one line, in the order of the replicas; a loss is None where it is not finite."""
        scalars: dict[str, float] = {}
        for name, loss, rate in zip(names, losses, rates, strict=True):
            scalars |= {} if loss is None else {f"loss/{name}": loss}
            scalars[f"learning_rate/{name}"] = rate
        self.write_line(step, {"loss": list(losses), "learning_rate": list(rates)}, scalars)

    def finish(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Writes the readout, then the summary, which marks the fit as finished, and deletes the checkpoint."""
        save_atomically(self.path / READOUT, tensors, facts)
        sha256 = file_sha256(self.path / READOUT)
        write_json(self.path / SUMMARY, {"identity": self.fingerprint, **summary, "readout_sha256": sha256})
        (self.path / CHECKPOINT).unlink(missing_ok=True)

    def _clear(self) -> None:
        for unfinished in self.path.glob(f".{CHECKPOINT}.*"):
            unfinished.unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """xxHash over names, shapes and contents: safetensors notices a file that is cut short, but no flipped bit."""
    digest = xxhash.xxh3_64()
    for name in sorted(tensors):
        content = tensors[name].contiguous().numpy()
        digest.update(f"{name} {content.shape} ".encode())
        digest.update(content.reshape(-1).view("uint8").data)
    return digest.hexdigest()


NOT_IDENTITY = ("log_every", "checkpoint_every_s")
"""Fields of `FitConfig` that do not change the readout."""


def feature_identity(encoder: Encoder, source: Source) -> dict[str, Any]:
    """All that can change the features of given pixels, as JSON values."""
    return {
        "encoder": encoder.describe(),
        "preprocessing": source.preprocessing(),
        "code_sha256": code_sha256(code_of(encoder) | code_of(source) | {"readouts.fitting.features"}),
        "numerics": numerics(encoder),
    }


def fit_identity(
    encoder: Encoder,
    source: Source,
    readout: Sizes,
    config: FitConfig,
    loss: Measure,
    selection: Selection,
    cache: Cache | None,
) -> dict[str, Any]:
    """All that can change the readout, as JSON values."""
    functions = [_unwrapped(loss), _unwrapped(selection.measure)]
    identity = {
        **feature_identity(encoder, source),
        "source": source.describe(),
        "readout": readout.describe(),
        "fit": {name: value for name, value in dataclasses.asdict(config).items() if name not in NOT_IDENTITY},
        "functions": [name for _, name in functions],
        "selection": [selection.name, selection.higher_is_better],
        "functions_sha256": code_sha256(
            code_of(readout) | {"readouts.fitting.fit"} | {function.__module__ for function, _ in functions}
        ),
        "fit_numerics": numerics(encoder, fits=True),
        "features": "float32" if cache is None else cache.dtype,
    }
    return json.loads(json.dumps(identity))


def _unwrapped(function: Any) -> tuple[Any, str]:
    """The object whose source code a measure runs, and its name with the arguments bound to it.

    A measure is a function, a `functools.partial` of one, or a dataclass instance, whose repr names its values.
    """
    if isinstance(function, functools.partial):
        inner, name = _unwrapped(function.func)
        return inner, f"{name} {function.args!r} {sorted(function.keywords.items())!r}"
    return function, getattr(function, "__qualname__", None) or repr(function)
