"""Where a run of `aam` keeps its model, below the folder of the run."""

from pathlib import Path

BEST = Path("checkpoints") / "best_model"
LAST = Path("checkpoints") / "last"
#: What a cross-validation has computed, fold by fold.
CELLS = Path("cells")
#: The encoder of the package; docs/general-encoder.md tells what it learned.
GENERAL = Path(__file__).parent / "general_encoder"


def model_in(path: Path | None) -> Path | None:
    """The artifact layout in `path`, or in the run that `path` is; None for None."""
    if path is not None and (path / BEST).is_dir():
        return path / BEST
    return path
