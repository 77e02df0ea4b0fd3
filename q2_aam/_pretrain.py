"""Action `pretrain`."""

import biom
import qiime2
import skbio
from q2_types.feature_data import DNAFASTAFormat
from q2_types.tree import NewickFormat

from aam_core.config import PretrainConfig
from q2_aam._formats import AAMEncoderDirectoryFormat
from q2_aam._inputs import (
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


@takes_options(PretrainConfig)
def pretrain(
    table: biom.Table,
    sequences: DNAFASTAFormat = None,
    phylogeny: NewickFormat = None,
    distance_matrix: skbio.DistanceMatrix = None,
    pretrained_encoder: AAMEncoderDirectoryFormat = None,
    resume_from: AAMEncoderDirectoryFormat = None,
    metadata: qiime2.Metadata = None,
    **options,
) -> AAMEncoderDirectoryFormat:
    """Learn an encoder from unlabelled samples."""
    with in_action():
        config = PretrainConfig(**options)

        from aam_core.commands.pretrain import pretrain as run

        learned = AAMEncoderDirectoryFormat()
        run(
            config,
            directory(learned),
            **table_inputs(table, sequences),
            **distance_inputs(phylogeny, distance_matrix),
            metadata=frame(metadata),
            encoder=directory(pretrained_encoder),
            report=report,
            state=directory(learned),
            resume_from=state_folder(resume_from),
        )
        tell_at_end(learned)
        return learned
