"""Train the model of the plugin's usage examples: `python -m tools.example_model`.

It is small, so that examples run in seconds, and learns next to nothing.
"""

import shutil
from pathlib import Path

import biom

from aam_core.commands.train import train
from aam_core.config import TrainConfig
from aam_core.data.table import FeatureTable
from q2_aam import _examples

FOLDER = Path(_examples.__file__).parent / "example_model"


def main(folder: Path = FOLDER) -> None:
    """Write the model where the plugin finds it."""
    options = dict(_examples.SMALL, pooled_features=8, device="cpu")
    config = TrainConfig(
        **options,
        metadata_column=("habitat",),
        task="classification",
        ensemble=("network",),
        cross_fit=0,
    )
    if folder.exists():
        shutil.rmtree(folder)
    train(
        config,
        folder,
        table=FeatureTable.from_biom(_examples.table_factory().view(biom.Table)),
        metadata=_examples.metadata_factory().to_dataframe(),
    )


if __name__ == "__main__":
    main()
