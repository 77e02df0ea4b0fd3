"""Accuracy on a study, through `qiime`, against a forest and the mean.

    python -m benchmarks.accuracy --table table.qza --sequences seqs.fasta \
        --tree tree.nwk --metadata metadata.tsv --column month --group host_subject_id \
        --depth 2000 --output OUT

Groups (or samples) are dealt to folds. For each fold, encoder, model and forest see the
other folds only; all three kinds of prediction are of the fold itself. Each command and
its time is shown; the last table says what came out.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import qiime2
from sklearn.metrics import mean_absolute_error, r2_score

from aam_core.data.metadata import read_metadata
from benchmarks.studies import folds


def main() -> None:
    """Run the folds and print the table."""
    args = arguments()
    args.output.mkdir(parents=True)
    import_inputs(args)
    table = qiime2.Artifact.load(args.table).view(pd.DataFrame)
    metadata = read_metadata(args.metadata)
    labelled = metadata.loc[metadata.index.isin(table.index)]
    labelled = labelled[labelled[args.column].notna()].sort_index()
    rows = []
    dealt = folds(labelled, args.group, args.folds)
    for fold, (training, held_out) in enumerate(dealt):
        if fold == args.folds_run:
            break
        rows += run_fold(args, fold, labelled.iloc[training], labelled.iloc[held_out])
        found = pd.DataFrame(rows)
        found.to_csv(args.output / "accuracy.tsv", sep="\t", index=False)
    by_method = found.groupby("method", sort=False)
    print(found.to_string(index=False))
    print(by_method[["r2", "mae", "seconds"]].agg(["mean", "std"]).to_string())


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("table", "sequences", "tree", "metadata", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--column", required=True)
    parser.add_argument("--group")
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--folds-run", type=int, default=5)
    parser.add_argument("--pretrain-epochs", type=int, default=15)
    parser.add_argument(
        "--train", type=shlex.split, default=[], help="more options of train, quoted"
    )
    return parser.parse_args()


def import_inputs(args: argparse.Namespace) -> None:
    """Import sequences and tree."""
    for kind, path, name in (
        ("FeatureData[Sequence]", args.sequences, "sequences"),
        ("Phylogeny[Rooted]", args.tree, "tree"),
    ):
        output = args.output / f"{name}.qza"
        qiime("tools import", type=kind, input_path=path, output_path=output)


def run_fold(
    args: argparse.Namespace, fold: int, training: pd.DataFrame, held_out: pd.DataFrame
) -> list[dict]:
    """Scores of all methods on one fold."""
    folder = args.output / f"fold-{fold}"
    folder.mkdir()
    shared = {"i_sequences": args.output / "sequences.qza"}
    options = {"p_missing_features": "drop"}
    for name, part in (("training", training), ("held-out", held_out)):
        part.to_csv(folder / f"{name}.tsv", sep="\t", index_label="sample-id")
        qiime(
            "feature-table filter-samples",
            i_table=args.table,
            m_metadata_file=folder / f"{name}.tsv",
            o_filtered_table=folder / f"{name}.qza",
        )
    labels = {
        "m_metadata_file": args.metadata,
        "p_metadata_column": args.column,
    }
    group = {"p_group_column": args.group} if args.group else {}
    seconds = qiime(
        "aam pretrain",
        i_table=folder / "training.qza",
        i_phylogeny=args.output / "tree.qza",
        p_preset="tiny",
        p_lr="0.001",
        p_epochs=args.pretrain_epochs,
        p_rarefy_depth=args.depth,
        o_encoder=folder / "encoder.qza",
        **shared,
        **options,
    )
    seconds += qiime(
        "aam train",
        *args.train,
        i_table=folder / "training.qza",
        i_encoder=folder / "encoder.qza",
        p_lr="0.001",
        p_rarefy_depth=args.depth,
        o_model=folder / "model.qza",
        o_predictions=folder / "validation.qza",
        **labels,
        **group,
        **shared,
        **options,
    )
    seconds += qiime(
        "aam predict",
        i_table=folder / "held-out.qza",
        i_model=folder / "model.qza",
        o_predictions=folder / "predictions.qza",
        o_details=folder / "details.qza",
        **shared,
        **options,
    )
    forest_seconds = qiime(
        "aam rf-baseline",
        i_table=args.table,
        i_model=folder / "model.qza",
        m_metadata_file=args.metadata,
        o_predictions=folder / "forest.qza",
        o_details=folder / "forest-details.qza",
        o_importance=folder / "importance.qza",
    )
    model = qiime2.Artifact.load(folder / "predictions.qza").view(pd.Series)
    forest = qiime2.Artifact.load(folder / "forest.qza").view(pd.Series)
    truth = held_out.loc[model.index, args.column]
    mean = pd.Series(training[args.column].mean(), truth.index)
    found = []
    for method, predicted, spent in (
        ("q2-aam", model, seconds),
        ("random forest", forest[truth.index], forest_seconds),
        ("mean", mean, 0.0),
    ):
        scores = {
            "r2": r2_score(truth, predicted),
            "mae": mean_absolute_error(truth, predicted),
        }
        found.append({"fold": fold, "method": method, "n": len(truth)} | scores)
        found[-1]["seconds"] = round(spent)
    return found


def qiime(action: str, *more: str, **options: object) -> float:
    """Run a command, shown first; return its seconds."""
    command = ["qiime", *action.split(), *more]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    print("$", *command, flush=True)
    start = time.perf_counter()
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{action} failed.")
    spent = time.perf_counter() - start
    print(f"  {spent:.0f} s", flush=True)
    return spent


if __name__ == "__main__":
    main()
