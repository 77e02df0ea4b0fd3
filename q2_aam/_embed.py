"""Action `embed`."""

import biom
import pandas as pd
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat

from aam_core.config import EmbedConfig
from q2_aam._formats import AAMEncoderDirectoryFormat, AAMModelDirectoryFormat
from q2_aam._inputs import directory, frame, in_action, report, table_inputs
from q2_aam._signature import takes_options


@takes_options(EmbedConfig)
def embed(
    table: biom.Table,
    sequences: DNAFASTAFormat = None,
    encoder: AAMEncoderDirectoryFormat = None,
    model: AAMModelDirectoryFormat = None,
    metadata: qiime2.Metadata = None,
    **options,
) -> (pd.DataFrame, pd.DataFrame, skbio.DistanceMatrix, skbio.OrdinationResults):
    """Embed samples and ASVs, and predict the distances between samples."""
    with in_action():
        config = EmbedConfig(**options)

        from aam_core.commands.embed import embed as run

        found = run(
            config,
            directory(encoder),
            **table_inputs(table, sequences),
            model=directory(model),
            metadata=frame(metadata),
            report=report,
        )
        return found.samples, found.asvs, found.distances, found.pcoa
