"""Files of a Hugging Face model, in a folder or on the Hub: weights, pixel normalisation and licence."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from baselines.hub.frame_size import first_line
from baselines.vit.config import IMAGENET
from rvm_bench.errors import UserError
from rvm_bench.formats.files import read_json

CONFIG = "config.json"
PREPROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""A single file or an index of shards, in transformers' order of preference."""

REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
COMMIT = re.compile(r"[0-9a-f]{40}")
LICENCE = re.compile(r"^(license|license_name):\s*(?:-\s*)?['\"]?([\w.+-]+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Repository:
    """A model's folder, or a repository of the Hub, whose files are downloaded into the Hugging Face cache on demand.

    Attributes:
        reference: as given by the user.
        folder: of the files; for a repository the snapshot of one commit in the cache.
        commit: of a repository; None for a folder.
    """

    reference: str
    folder: Path
    commit: str | None = None

    @property
    def name(self) -> str:
        """Last part of the reference, usable as the name of a folder."""
        last = self.reference.rpartition("/")[2] if self.commit else self.folder.resolve().name
        return re.sub(r"[^\w.-]+", "_", last) or "root"

    @property
    def source(self) -> str:
        """Origin of the model. Of a local folder only the name, because its location does not change a result."""
        return f"hf:{self.reference}@{self.commit}" if self.commit else f"hf: local folder {self.name}"

    def file(self, name: str) -> Path | None:
        """Path of a file of the model; None if it has no file of this name."""
        if self.commit:
            return _fetch(self.reference, name, self.commit)
        path = self.folder / name
        return path if path.is_file() else None

    def weight_files(self) -> list[Path]:
        """The files from which transformers reads the weights.

        Raises:
            UserError: there is none, or a shard is missing.
        """
        for name in WEIGHTS:
            path = self.file(name)
            if path is None:
                continue
            if not name.endswith(".json"):
                return [path]
            shards = {shard: self.file(shard) for shard in sorted(set(read_json(path)["weight_map"].values()))}
            missing = [shard for shard, file in shards.items() if file is None]
            if missing:
                raise UserError(f"{self.reference} lacks {', '.join(missing)}, which {name} lists; get the model again")
            return [file for file in shards.values() if file is not None]
        raise UserError(
            f"{self.reference} holds no weights; expected {WEIGHTS[0]} or {WEIGHTS[2]}, or give --weights random"
        )

    def pixels(self) -> tuple[tuple[float, ...], tuple[float, ...], str]:
        """Mean and standard deviation of pixels in [0, 1], per RGB channel, and a sentence on their origin."""
        for name in PREPROCESSORS:
            path = self.file(name)
            settings = read_json(path) if path else {}
            settings = settings.get("image_processor") or settings
            if settings.get("image_mean") is not None and settings.get("image_std") is not None:
                return *_statistics(settings, str(path)), f"pixels normalised as in {name}"
        return (
            IMAGENET["pixel_mean"],
            IMAGENET["pixel_std"],
            "pixels normalised by ImageNet's mean and std: no file of the model says how",
        )

    def licence(self) -> str:
        """The licence in the front matter of README.md."""
        try:
            readme = self.file("README.md")
        except UserError:  # offline and not in the cache; no result depends on it
            readme = None
        text = readme.read_text(encoding="utf-8", errors="replace") if readme else ""
        front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
        facts: dict[str, str] = dict(LICENCE.findall(front[1])) if front else {}
        licence = facts.get("license", "see the model card")
        return facts.get("license_name", licence) if licence == "other" else licence


def find_repository(reference: str, revision: str | None = None) -> Repository:
    """The folder or repository of the Hub that a reference names. A folder takes precedence over a repository.

    Args:
        reference: a folder ("./model", "/data/model", "~/model"), or "owner/name" of the Hub.
        revision: a branch, tag or commit of a repository; None: its main branch.

    Raises:
        UserError: no such folder, a folder without a model, or a repository that cannot be reached.
    """
    path = Path(reference).expanduser()
    if path.is_dir():
        if revision is not None:
            raise UserError(f"{reference} is a folder, which has no revision {revision!r}; leave the option out")
        if not (path / CONFIG).is_file():
            raise UserError(
                f"{reference} holds no {CONFIG}; expected a folder that transformers' save_pretrained wrote"
            )
        return Repository(reference, path)
    if not REPOSITORY.fullmatch(reference) or reference.startswith("."):
        raise UserError(f"no such folder: {reference} (expected hf:FOLDER, or hf:OWNER/NAME of the Hugging Face Hub)")
    config = _fetch(reference, CONFIG, revision)
    if config is None:
        raise UserError(f"hf:{reference} holds no {CONFIG}, so it is no model of transformers")
    return Repository(reference, config.parent, config.parent.name)


def _statistics(settings: dict[str, Any], where: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std for pixels in [0, 1] of an image processor's (pixel * rescale_factor - offset - mean) / std."""
    scale = 255 * (settings.get("rescale_factor") or 1 / 255) if settings.get("do_rescale", True) else 255.0
    offset = 1.0 if settings.get("offset") else 0.0
    means, stds = settings["image_mean"], settings["image_std"]
    if not settings.get("do_normalize", True):
        means, stds = [0.0] * 3, [1.0] * 3
    if isinstance(means, (int, float)) and isinstance(stds, (int, float)):
        means, stds = [means] * 3, [stds] * 3
    if len(means) != 3 or len(stds) != 3 or not all(stds):
        raise UserError(f"{where}: image_mean {means} and image_std {stds}; expected three numbers each, no std of 0")
    return tuple((offset + mean) / scale for mean in means), tuple(std / scale for std in stds)


def _fetch(repository: str, name: str, revision: str | None) -> Path | None:
    """A file of a repository, from the Hugging Face cache or the Hub; None if the repository has no such file."""
    from huggingface_hub import _CACHED_NO_EXIST, errors, hf_hub_download, try_to_load_from_cache

    where = f"hf:{repository}" + (f" at {revision}" if revision else "")
    if revision and COMMIT.fullmatch(revision):  # a commit is immutable, so the cache needs no request
        known = try_to_load_from_cache(repository, name, revision=revision)
        if known is not None:
            return None if known is _CACHED_NO_EXIST else Path(str(known))
    try:
        return Path(hf_hub_download(repository, name, revision=revision))
    except errors.RemoteEntryNotFoundError:
        return None
    except errors.LocalEntryNotFoundError as error:
        raise UserError(
            f"{where}: no such folder here, {name} is not in the Hugging Face cache, and huggingface.co cannot be "
            "reached; connect once, or give a folder, as hf:path/to/folder"
        ) from error
    except errors.GatedRepoError as error:
        raise UserError(f"{where} is gated: accept its terms on huggingface.co, then `hf auth login`") from error
    except errors.RevisionNotFoundError as error:
        raise UserError(f"{where}: the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"{where}: no such folder here, and no such repository on huggingface.co") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: {name} cannot be fetched: {first_line(error)}") from error
