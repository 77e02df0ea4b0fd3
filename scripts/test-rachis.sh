#!/usr/bin/env bash
# Run the tests with rachis, as QIIME 2's framework is called since 2025, and with the
# newest numpy, pandas, scikit-learn and scikit-bio from PyPI.
#
#   bash scripts/test-rachis.sh                   all tests of the engine and the plugin
#   bash scripts/test-rachis.sh tests/plugin -x   arguments of pytest
#
# PyPI has no q2-types and none of the plugins that ours builds on: Debian's, which are
# pure Python, are linked into the environment.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv-rachis
. scripts/common.sh
RACHIS=2026.4.0
DEBIAN_MODULES=(q2_types q2_feature_table q2_sample_classifier q2templates)
# What Debian's modules import beyond rachis' own requirements.
THEIR_LIBRARIES=(beautifulsoup4 ijson jinja2 seaborn)

link_debian_modules() {
  local from name
  from=$(/usr/bin/python3 -c "import importlib.util as u, pathlib as p
print(p.Path(u.find_spec('q2_types').origin).parents[1])" 2>/dev/null) ||
    stop "Debian's q2-types is needed here: 'make setup' installs it with apt."
  rm -rf "$VENV/debian" && mkdir "$VENV/debian"
  for name in "${DEBIAN_MODULES[@]}"; do
    ln -s "$from/$name" "$from/$name"-*.egg-info "$VENV/debian/"
  done
}

# The folders of the alias and of Debian's modules come onto the path at every start.
write_pth() {
  local site
  site=$("$VENV/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
  printf '%s\n' "$PWD/tests/rachis" "$PWD/$VENV/debian" \
    "import qiime2_alias; qiime2_alias.install()" > "$site/qiime2_alias.pth"
}

if [ ! -e "$VENV/installed" ] || [ "$0" -nt "$VENV/installed" ] ||
  [ setup.py -nt "$VENV/installed" ]; then
  say "completing the environment $VENV/"
  [ -x "$VENV/bin/python" ] || python3 -m venv "$VENV"
  link_debian_modules
  install_torch
  pip_install --quiet "rachis==$RACHIS" "${THEIR_LIBRARIES[@]}"
  pip_install --quiet --no-build-isolation -e ".[dev]"
  write_pth
  touch "$VENV/installed"
fi
[ $# -gt 0 ] || set -- -n auto --maxprocesses 4 --dist loadfile tests/core tests/plugin
# A warning of rachis' own code is no error of ours.
exec "$VENV/bin/python" -m pytest -W ignore::FutureWarning:rachis.metadata.io "$@"
