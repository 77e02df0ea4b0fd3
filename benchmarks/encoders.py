"""Settings of the encoder compared on a study: what they cost, and what they learn.

Groups (or samples) are dealt to folds. For each fold, seed and setting, an encoder is
pre-trained on the samples of the other folds, a head (or several) is trained on it
while it stays frozen, and the fold itself is predicted: by the head, which is one
network alone unless more is asked for, and by a ridge that is fitted on the encoder's
embedding of the samples. The ridge has no random start of its own, as the head has.

Before that, steps of all settings (forward and backward) are timed in turn on the same
samples, so that other work on the machine slows them alike. CPU seconds are those of
this process; those of pre-training include its validation. docs/benchmarks.md has a
command.
"""

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aam_core.commands.predict import predict
from aam_core.commands.pretrain import pretrain
from aam_core.commands.train import train
from aam_core.config import (
    PredictConfig,
    PretrainConfig,
    TrainConfig,
    resolve_architecture,
)
from aam_core.data.batches import BatchMaker
from aam_core.data.inputs import Sources, prepare_inputs
from aam_core.data.study import prepare_study
from aam_core.inference.encode import collect, encode_table
from aam_core.io.load import load_encoder
from aam_core.io.model_folder import read_config, read_history
from aam_core.metrics import classification_metrics, regression_metrics
from aam_core.nn.encoder import Encoder
from aam_core.reporting import silent
from aam_core.training.pretrain_session import PretrainSession
from benchmarks.measure import tell
from benchmarks.studies import Data, folds, read

STRENGTHS = np.logspace(-1, 5, 13)  #: of the ridge, chosen by training samples
PARTS = 5  #: of the training samples, for that choice
ROUNDS = 3  #: of steps, after a first one that warms up
#: What is kept of the pre-training's best epoch.
VALIDATION = ("val_nuc_accuracy", "val_nuc_loss", "val_unifrac_r", "val_unifrac_loss")
#: What is kept of the scores on the fold.
SCORES = {"regression": ("r2", "mae"), "classification": ("accuracy", "f1")}


def parse_setting(text: str) -> dict[str, Any]:
    """The options of pretrain in `name=value name=value`."""
    setting = {}
    for word in text.split():
        name, _, value = word.partition("=")
        try:
            setting[name] = json.loads(value)
        except json.JSONDecodeError:
            setting[name] = value
    return setting


def step_seconds(
    data: Data, settings: Sequence[str], shared: Mapping[str, Any]
) -> dict[str, float]:
    """CPU seconds of a step by setting; medians of the same batches, in turn."""
    sessions = {text: session_of(data, text, shared) for text in settings}
    makers = {
        text: one.maker(one.masking, tokens=True, distances=True)
        for text, one in sessions.items()
    }
    spent = {text: [] for text in settings}
    for number in range(ROUNDS + 1):
        for (text, session), batch in itertools.product(sessions.items(), range(3)):
            size = session.config.batch_size
            rows = session.training[batch * size : (batch + 1) * size]
            if len(rows) < 2:
                continue
            made = makers[text][0, rows]
            start = time.process_time()
            session.losses(made)[0].backward()
            if number:  # the first round warms up
                spent[text].append(time.process_time() - start)
            session.model.zero_grad()
    return {text: float(np.median(seconds)) for text, seconds in spent.items()}


def session_of(data: Data, text: str, shared: Mapping[str, Any]) -> PretrainSession:
    """A run of pre-training that is about to start."""
    options = dict(shared) | {"missing_features": "drop"} | parse_setting(text)
    config = PretrainConfig(**options)
    arch = resolve_architecture(config)
    sources = Sources(data.table, data.sequences, data.phylogeny)
    inputs = prepare_inputs(config, sources, max_bp=arch.max_bp, report=silent)
    torch.manual_seed(config.seed)
    rows = np.random.default_rng(0).permutation(len(inputs.study.depths))
    return PretrainSession(
        config, Encoder(arch).train(), inputs, rows, rows[:0], torch.device("cpu")
    )


def measure_all(
    data: Data,
    settings: Sequence[str],
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    seeds: Sequence[int],
    shared: Mapping[str, Any],
    heads: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """One row for each fold, seed and setting, shown as it is done.

    Parameters
    ----------
    data : Data
        The study.
    settings : sequence of str
        As `parse_setting` takes them.
    splits : iterable
        Rows of training and of held-out samples.
    seeds : sequence of int
        Seeds of validation samples, rarefaction and weights.
    shared : mapping
        More options of pretrain.
    heads : mapping
        Options of train, by the name of the head.
    """
    rows = []
    for fold, parts in enumerate(splits, start=1):
        for seed, text in itertools.product(seeds, settings):
            options = dict(shared) | {"seed": seed} | parse_setting(text)
            row = {"setting": text, "fold": fold, "seed": seed}
            seeded = {name: dict(head) | {"seed": seed} for name, head in heads.items()}
            row |= measure_one(data, *parts, options, seeded)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def measure_one(
    data: Data,
    training: np.ndarray,
    held_out: np.ndarray,
    options: dict[str, Any],
    heads: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Pre-train, train and predict; what it cost and how good it is."""
    inputs, labels = inputs_of(data.take(training))
    options = options | {"missing_features": "drop", "group_column": data.group}
    with tempfile.TemporaryDirectory() as folder:
        encoder = Path(folder) / "encoder"
        wall, cpu = time.perf_counter(), time.process_time()
        pretrain(
            PretrainConfig(**options),
            encoder,
            **inputs,
            **labels,
            phylogeny=data.phylogeny,
        )
        cost = {
            "pretrain CPU s": time.process_time() - cpu,
            "pretrain wall s": time.perf_counter() - wall,
        }
        scores = {}
        for number, (name, head) in enumerate(heads.items()):
            model = Path(folder) / f"model{number}"
            config = train_config(data, options, head)
            train(config, model, **inputs, **labels, encoder=encoder)
            scores[name] = predicted(data.take(held_out), model)
        history = read_history(encoder).set_index("epoch")
        best = history.loc[read_config(encoder)["best_epoch"]]
        validation = {n: float(best[n]) for n in VALIDATION if n in best}
        scores["ridge"] = probed(data, training, held_out, encoder)
    names = SCORES[data.task]
    found = {f"{who} {n}": of[n] for who, of in scores.items() for n in names}
    return cost | validation | found


def inputs_of(data: Data) -> tuple[dict[str, Any], dict[str, Any]]:
    """What every command reads, and what only training reads."""
    inputs = {"table": data.table, "sequences": data.sequences, "report": silent}
    return inputs, {"metadata": data.metadata}


def train_config(data: Data, options: dict, head: dict) -> TrainConfig:
    """Of a head on a frozen encoder; samples are read as in pre-training.

    It is one network alone, unless `head` asks for more.
    """
    same = ("rarefy_depth", "missing_features", "group_column", "batch_size")
    same = {name: options[name] for name in same if name in options}
    return TrainConfig(
        task=data.task,
        metadata_column=(data.column,),
        freeze_base=True,
        **same | {"ensemble": ("network",), "cross_fit": 0} | head,
    )


def score(task: str, true: pd.Series, found: Sequence) -> dict[str, float]:
    """Metrics of the held-out samples."""
    if task == "classification":
        return classification_metrics(true.tolist(), list(found))
    return regression_metrics(true.to_numpy(), np.asarray(found))


def predicted(data: Data, model: Path) -> dict[str, float]:
    """Scores of a model on samples that it has not seen."""
    inputs, _ = inputs_of(data)
    found = predict(PredictConfig(missing_features="drop"), model, **inputs)
    found = found.predictions.iloc[:, 0]
    return score(data.task, data.metadata.loc[found.index, data.column], found)


def probed(
    data: Data, training: np.ndarray, held_out: np.ndarray, encoder: Path
) -> dict[str, float]:
    """Scores of a ridge on the encoder's embedding of the samples."""
    embedding = embed(data, encoder)
    ids = data.metadata.index
    seen = data.metadata.loc[embedding.index.intersection(ids[training])]
    unseen = data.metadata.loc[embedding.index.intersection(ids[held_out])]
    parts = list(folds(seen, data.group, PARTS))
    kind = RidgeCV if data.task == "regression" else RidgeClassifierCV
    ridge = make_pipeline(StandardScaler(), kind(alphas=STRENGTHS, cv=parts))
    ridge.fit(embedding.loc[seen.index], seen[data.column])
    found = ridge.predict(embedding.loc[unseen.index])
    return score(data.task, unseen[data.column], found)


def embed(data: Data, folder: Path) -> pd.DataFrame:
    """The pooled embedding of each sample, read as in pre-training."""
    config = PretrainConfig(**read_config(folder)["options"])
    encoder, device = load_encoder(folder), torch.device("cpu")
    study = prepare_study(
        data.table,
        data.sequences,
        config,
        max_bp=encoder.arch.max_bp,
        seed=config.seed,
        report=silent,
    )
    rows = np.arange(study.table.shape[0])
    table = encode_table(encoder, study, rows, config, device)
    maker = BatchMaker(
        study,
        token_limit=config.token_limit,
        asv_sampling=config.asv_sampling,
        tokens=False,
        seed=config.seed,
    )
    found = collect(
        lambda batch: encoder(batch, table(batch)),
        maker,
        rows,
        ("sample",),
        config,
        device,
    )
    return pd.DataFrame(found["sample"].numpy(), index=study.table.sample_ids)


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over folds and seeds.

    Of each setting; then of what each has more than the first one in the run of the
    same fold and seed.
    """
    table = pd.DataFrame(rows).set_index(["setting", "fold", "seed"])
    settings = table.index.unique("setting")
    parts = {name: table.loc[name] for name in settings}
    first = settings[0]
    parts |= {f"{n} − {first}": parts[n] - parts[first] for n in settings[1:]}
    found = []
    for name, part in parts.items():
        for what, values in (("mean", part.mean()), ("SD", part.std())):
            row = {"setting": name, "fold": what, "seed": None}
            found.append(row | values.to_dict())
    return found


def existing(name: str, required: bool = True) -> Callable:
    """An option that names a file of the study."""
    kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option(f"--{name}", type=kind, required=required)


@click.command(help=__doc__.partition("\n")[0])
@existing("table")
@existing("sequences", required=False)
@existing("tree")
@existing("metadata")
@click.option("--column", required=True, help="What is predicted.")
@click.option("--group", help="Column whose groups are never divided.")
@click.option("--depth", type=int, required=True, help="rarefy_depth.")
@click.option(
    "--setting",
    "settings",
    multiple=True,
    required=True,
    help='Options of pretrain, such as "nucleotide_patch=3 dropout=0"; several are '
    "compared with the first.",
)
@click.option("--seed", "seeds", type=int, multiple=True, default=(0,))
@click.option("--folds", "number", default=5, show_default=True)
@click.option(
    "--folds-run",
    default=2,
    show_default=True,
    help="Folds held out; 0 times steps only.",
)
@click.option("--preset", default="tiny", show_default=True)
@click.option("--lr", default=1e-3, show_default=True)
@click.option("--epochs", default=5, show_default=True, help="Of pretrain.")
@click.option("--head-epochs", default=20, show_default=True, help="Of train.")
@click.option(
    "--head",
    "heads",
    multiple=True,
    default=("",),
    help='Options of train, such as "cross_fit=5 lr=0.01"; each makes a head.',
)
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False))
def main(
    settings,
    seeds,
    number,
    folds_run,
    preset,
    lr,
    epochs,
    head_epochs,
    heads,
    depth,
    path,
    **files,
) -> None:
    """Measure each setting, and tell."""
    data = read(**files)
    splits = itertools.islice(folds(data.metadata, data.group, number), folds_run)
    shared = {"preset": preset, "lr": lr, "epochs": epochs, "rarefy_depth": depth}
    head = {"lr": lr, "epochs": head_epochs}
    heads = {f"model {text}".strip(): head | parse_setting(text) for text in heads}
    steps = step_seconds(data, settings, shared)
    rows = measure_all(data, settings, splits, seeds, shared, heads)
    if rows:
        rows = [row | {"step CPU s": steps[row["setting"]]} for row in rows]
        rows += summarise(rows)
    else:
        rows = [{"setting": text, "step CPU s": s} for text, s in steps.items()]
    sizes = {"samples": len(data.metadata), "column": data.column, "folds": number}
    sizes |= shared | {"head epochs": head_epochs}
    tell("encoders", sizes, rows, path=path)
