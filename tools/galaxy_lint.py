"""Errors that `galaxy-tool-util` finds in tools, less those of q2galaxy's template.

    python tools/galaxy_lint.py TOOL.xml …

A script of its own, so that it can run in an environment without QIIME 2.
"""

import sys
from pathlib import Path

#: Faults of the template that every plugin's tools have: Galaxy takes such filters.
OF_THE_TEMPLATE = (
    "InputsDataOptionsFilterAttribFiltersType",
    "InputsDataOptionsFiltersRef",
)


def errors_of(tool: Path) -> list[str]:
    """What is wrong with a tool, a line each."""
    from galaxy.tool_util.lint import LintContext, LintLevel, lint_tool_source_with
    from galaxy.tool_util.parser.factory import get_tool_source

    context = LintContext(level=LintLevel.SILENT)
    lint_tool_source_with(context, get_tool_source(str(tool)))
    return [
        f"{tool.name}: {message}"
        for message in context.error_messages
        if not any(known in str(message) for known in OF_THE_TEMPLATE)
    ]


if __name__ == "__main__":
    found = [line for name in sys.argv[1:] for line in errors_of(Path(name))]
    print(f"{len(sys.argv) - 1} tools, {len(found)} errors of ours.")
    print("\n".join(found), end="\n" * bool(found))
    raise SystemExit(bool(found))
