"""Action `cross-validate`."""

import biom
import qiime2
from q2_types.feature_data import DNAFASTAFormat

from aam_core.config import CrossValidateConfig
from q2_aam._formats import (
    AAMCrossValidationDirectoryFormat,
    AAMEncoderDirectoryFormat,
)
from q2_aam._inputs import (
    column_and_groups,
    directory,
    in_action,
    repeat_at_end,
    report,
    table_inputs,
)
from q2_aam._signature import takes_options


@takes_options(CrossValidateConfig)
def cross_validate(
    table: biom.Table,
    metadata: qiime2.MetadataColumn,
    sequences: DNAFASTAFormat = None,
    encoder: AAMEncoderDirectoryFormat = None,
    groups: qiime2.MetadataColumn = None,
    **options,
) -> AAMCrossValidationDirectoryFormat:
    """Compare with a forest by repeated folds."""
    with in_action():
        config = CrossValidateConfig(**options)

        from aam_core.commands.cross_validate import cross_validate as run
        from aam_core.data.targets import task_of_column
        from aam_core.io.cross_validation import write_cross_validation

        known = column_and_groups(metadata, groups)
        found = run(
            config,
            task=task_of_column(known, metadata.name, config.missing_scheme),
            column=metadata.name,
            **table_inputs(table, sequences),
            metadata=known,
            group_column=None if groups is None else groups.name,
            encoder=directory(encoder),
            report=report,
        )
        result = AAMCrossValidationDirectoryFormat()
        write_cross_validation(found, result.path)
        repeat_at_end(_said(found.run))
        return result


def _said(run: dict) -> list[str]:
    """What was left out, and that the run did not reach its end."""
    if run["completed"]:
        return run["notes"]
    line = (
        f"The run was stopped after {run['done']:,} of {run['cells']:,} fits: the "
        "result has those, marked as not completed."
    )
    report(line)
    return [*run["notes"], line]
