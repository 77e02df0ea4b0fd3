"""Damaged encoders and models: validated, loaded and used as commands use them."""

import functools
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of QIIME 2 and other plugins, when imported
    import qiime2
    from qiime2.plugin import ValidationError
    from qiime2.plugin.util import transform
    from qiime2.sdk import PluginManager

    PluginManager()

from aam_core.commands.predict import predict
from aam_core.config import EmbedConfig, PredictConfig
from aam_core.errors import InputError
from aam_core.inference.embed import embed_samples
from aam_core.io.model_folder import CONFIG, HISTORY, WEIGHTS, read_config, read_history
from aam_core.report.model import model_page
from aam_core.reporting import silent
from q2_aam._formats import AAMEncoderDirectoryFormat, AAMModelDirectoryFormat
from tests import generate
from tests.fuzz.harness import Target
from tests.fuzz.mutations import (
    apply_bytes,
    apply_json,
    byte_changes,
    join_tensors,
    json_changes,
    split_tensors,
)
from tests.models import make_models

FORMATS = {"encoder": AAMEncoderDirectoryFormat, "model": AAMModelDirectoryFormat}
#: Numbers that are put into weights.
NUMBERS = (np.nan, np.inf, -np.inf, 3e38, 1e30, -1e30, 0.0, 1e-45)


class Damage(NamedTuple):
    """What happens to one file of a model."""

    file: str
    how: str
    what: Any


class Numbers(NamedTuple):
    """Numbers of an array of weights that become others."""

    array: int
    first: float
    size: int
    value: float


def damages() -> st.SearchStrategy:
    """Of all files, the configuration most of all."""
    numbers = st.builds(
        Numbers,
        st.integers(0, 10_000),
        st.floats(0, 1),
        st.sampled_from((1, 1, 10, 10_000_000)),
        st.sampled_from(NUMBERS),
    )
    files = st.sampled_from((CONFIG, WEIGHTS, HISTORY))
    whole = st.sampled_from(("missing", "empty", "folder", "link", "extra", "other"))
    config = st.builds(Damage, st.just(CONFIG), st.just("json"), json_changes())
    return st.one_of(
        config,
        config,
        st.builds(Damage, files, st.just("bytes"), byte_changes()),
        st.builds(Damage, st.just(WEIGHTS), st.just("header"), json_changes()),
        st.builds(Damage, st.just(WEIGHTS), st.just("numbers"), numbers),
        st.builds(Damage, files, st.just("file"), whole),
    )


def write(model: Path, damage: Damage, folder: Path) -> None:
    """Lay down a copy of a model with this damage."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    path = folder / damage.file
    if damage.how == "file":
        _replace(path, damage.what)
        return
    raw = path.read_bytes()
    if damage.how == "json":
        path.write_bytes(apply_json(raw, damage.what))
    elif damage.how == "bytes":
        path.write_bytes(apply_bytes(raw, damage.what))
    else:
        header, numbers = split_tensors(raw)
        if damage.how == "header":
            header = apply_json(header, damage.what)
        else:
            numbers = _with_numbers(header, numbers, damage.what)
        path.write_bytes(join_tensors(header, numbers))


def _replace(path: Path, how: str) -> None:
    if how == "extra":
        (path.parent / "__init__.py").write_text("raise SystemExit")
        return
    if how == "other":
        other = CONFIG if path.name == HISTORY else HISTORY
        path.write_bytes((path.parent / other).read_bytes())
        return
    path.unlink()
    if how == "empty":
        path.touch()
    elif how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to("nowhere")


def _with_numbers(header: bytes, numbers: bytes, change: Numbers) -> bytes:
    arrays = [a for n, a in json.loads(header).items() if n != "__metadata__"]
    array = arrays[change.array % len(arrays)]
    kinds = {"F32": np.float32, "F16": np.float16, "I32": np.int32, "U8": np.uint8}
    kind = kinds[array["dtype"]]
    start, end = array["data_offsets"]
    found = bytearray(numbers)
    values = np.frombuffer(found, kind, (end - start) // kind().itemsize, start)
    at = int(change.first * max(len(values) - 1, 0))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values[at : at + change.size] = np.float64(change.value).astype(kind)
    return bytes(found)


@functools.cache
def small_study() -> generate.Generated:
    """What the models are used on."""
    made = generate.study(samples=32)
    return generate.Generated(
        made.table.take_samples(np.arange(4)), made.sequences, made.tree, made.metadata
    )


def use(kind: str, folder: Path) -> dict[str, Any]:
    """Validate, read and use an encoder or model.

    Raises
    ------
    InputError
        The first refusal, after all has been tried.
    """
    made, refusals = small_study(), []

    def tried(function, *arguments, error=InputError):
        try:
            return function(*arguments)
        except error as found:
            if not str(found).strip():
                raise AssertionError("an error without words") from found
            refusals.append(found)
            return None

    fmt = FORMATS[kind](str(folder), mode="r")
    valid = functools.partial(tried, error=ValidationError)
    for level in ("min", "max"):
        valid(fmt.validate, level)
    valid(lambda: transform(fmt, to_type=qiime2.Metadata))
    valid(lambda: fmt.config.view(qiime2.Metadata))
    tried(lambda: model_page(read_config(folder), read_history(folder), "A model"))
    reads = {"table": made.table, "sequences": made.sequences, "report": silent}
    if kind == "encoder":
        found = tried(lambda: embed_samples(EmbedConfig(device="cpu"), folder, **reads))
    else:
        config = PredictConfig(device="cpu")
        found = tried(lambda: predict(config, folder, **reads, metadata=made.metadata))
        found = found and [found.predictions, found.details, found.reliability]
    if refusals:
        raise InputError(str(refusals[0]))
    return {"found": found}


def targets(folder: Path) -> list[Target]:
    """Each of the models, which are made in `folder`, damaged."""
    return of_models(make_models(folder))


def of_models(models: Mapping[str, tuple[str, Path]]) -> list[Target]:
    """Each of the models damaged, given kind and folder by name."""
    return [
        Target(
            f"artifact-{name}",
            damages(),
            functools.partial(write, path),
            functools.partial(use, kind),
            number=12,
        )
        for name, (kind, path) in models.items()
    ]
