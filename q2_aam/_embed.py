"""Action `embed`."""

import biom
import pandas as pd
import skbio
from q2_types.feature_data import DNAFASTAFormat

from aam_core.config import EmbedConfig
from q2_aam._formats import AAMEncoderDirectoryFormat
from q2_aam._inputs import directory, report, table_inputs
from q2_aam._signature import takes_options


@takes_options(EmbedConfig)
def embed(
    table: biom.Table,
    sequences: DNAFASTAFormat = None,
    encoder: AAMEncoderDirectoryFormat = None,
    **options,
) -> (pd.DataFrame, pd.DataFrame, skbio.DistanceMatrix, skbio.OrdinationResults):
    """Embed samples and ASVs, and predict the distances between samples."""
    config = EmbedConfig(**options)

    from aam_core.commands.embed import embed as run

    found = run(
        config, directory(encoder), **table_inputs(table, sequences), report=report
    )
    return found.samples, found.asvs, found.distances, found.pcoa
