"""Action `explain`."""

import biom
import pandas as pd
import qiime2
from q2_types.feature_data import DNAFASTAFormat

from aam_core.config import ExplainConfig
from q2_aam._formats import AAMModelDirectoryFormat
from q2_aam._inputs import directory, frame, in_action, report, table_inputs
from q2_aam._signature import takes_options


@takes_options(ExplainConfig)
def explain(
    table: biom.Table,
    model: AAMModelDirectoryFormat,
    sequences: DNAFASTAFormat = None,
    metadata: qiime2.Metadata = None,
    **options,
) -> (pd.DataFrame, pd.DataFrame):
    """Say what each ASV contributes to predictions."""
    with in_action():
        config = ExplainConfig(**options)

        from aam_core.commands.explain import explain as run

        found = run(
            config,
            directory(model),
            **table_inputs(table, sequences),
            metadata=frame(metadata),
            report=report,
        )
        return found.importance, found.contributions
