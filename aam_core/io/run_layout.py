"""Where a run of `aam` keeps its model, below the folder of the run."""

from pathlib import Path

LOG = "aam.log"
BEST = Path("checkpoints") / "best_model"
LAST = Path("checkpoints") / "last"
#: What a cross-validation has computed, fold by fold.
CELLS = Path("cells")
#: All that a run may have in its folder.
WRITTEN = {
    *(LOG, "tensorboard", BEST.parts[0], CELLS.name, "history.tsv", "report.html"),
    *("train_samples.txt", "val_samples.txt", "folds.tsv", "run.json"),
    *("predictions.tsv", "details.tsv", "val_predictions.tsv", "val_details.tsv"),
    *("forest_predictions.tsv", "forest_details.tsv"),
    *("importance.tsv", "contributions.tsv"),
    *("embedding.tsv", "asv_embedding.tsv", "distances.tsv", "pcoa.txt"),
    *("repeats.tsv", "comparison.tsv", "curve.tsv"),
}
#: The encoder of the package; docs/general-encoder.md tells what it learned.
GENERAL = Path(__file__).parent / "general_encoder"


def model_in(path: Path | None) -> Path | None:
    """The artifact layout in `path`, or in the run that `path` is; None for None."""
    if path is not None and (path / BEST).is_dir():
        return path / BEST
    return path
