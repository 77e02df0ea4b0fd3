"""Action `train`."""

import biom
import pandas as pd
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core.config import TrainConfig
from q2_aam._formats import AAMEncoderDirectoryFormat, AAMModelDirectoryFormat
from q2_aam._inputs import (
    as_details,
    as_predictions,
    directory,
    distance_inputs,
    frame,
    in_action,
    report,
    state_folder,
    table_inputs,
    tell_at_end,
)
from q2_aam._signature import takes_options


@takes_options(TrainConfig, required=("metadata_column",))
def train(
    table: biom.Table,
    metadata: qiime2.Metadata,
    sequences: DNAFASTAFormat = None,
    phylogeny: NewickFormat = None,
    distance_matrix: skbio.DistanceMatrix = None,
    encoder: AAMEncoderDirectoryFormat = None,
    resume_from: AAMModelDirectoryFormat = None,
    **options,
) -> (AAMModelDirectoryFormat, pd.Series, pd.DataFrame):
    """Learn to predict sample metadata."""
    with in_action():
        config = TrainConfig(**options)

        from aam_core.commands.train import train as run

        model = AAMModelDirectoryFormat()
        found = run(
            config,
            directory(model),
            **table_inputs(table, sequences),
            **distance_inputs(phylogeny, distance_matrix),
            metadata=frame(metadata),
            encoder=directory(encoder),
            report=report,
            state=directory(model),
            resume_from=state_folder(resume_from),
        )
        tell_at_end(model)
        return model, as_predictions(found.predictions), as_details(found.details)
