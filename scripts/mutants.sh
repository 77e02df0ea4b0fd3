#!/usr/bin/env bash
# Change the code in one place at a time, and see whether tests notice (mutmut).
#
#   bash scripts/mutants.sh "aam_core.data.folds*"   all changes of a module
#   SEED=16 NUMBER=500 bash scripts/mutants.sh       so many of all, drawn by a seed
#
# Run by `make mutants`, which sets up the environment. What is changed, and by which
# tests it is judged, stands in pyproject.toml. Those that no test noticed are listed at
# the end; `mutmut show NAME` prints one.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv-mutants
FIRST=aam_core.data.folds.x_classes_of__mutmut_1
mutmut() { "$VENV/bin/python" -m mutmut "$@"; }

# mutmut 3.7 does not know the newest pytest: an older one comes before all else.
if [ ! -e "$VENV/installed" ]; then
  python -m venv --system-site-packages "$VENV"
  site=$("$VENV/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
  python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > "$site/outer.pth"
  "$VENV/bin/python" -m pip install --quiet "mutmut==3.7.0" "pytest<9"
  touch "$VENV/installed"
fi

# Thousands of sessions of pytest share these models.
export AAM_TEST_MODELS=$PWD/build/mutants/models OMP_NUM_THREADS=1
if [ ! -d "$AAM_TEST_MODELS" ]; then
  mkdir -p build/mutants
  "$VENV/bin/python" -m tests.models build/mutants/making
  mv build/mutants/making "$AAM_TEST_MODELS"
fi

if [ -n "${NUMBER:-}" ]; then
  [ -d mutants ] || mutmut run --max-children 1 "$FIRST"  # so that there is a list
  mapfile -t names < <(mutmut results --all true | "$VENV/bin/python" -c '
import random, re, sys
names = sorted(re.findall(r"^ *(aam_core\S+):", sys.stdin.read(), re.M))
random.Random(int(sys.argv[1])).shuffle(names)
print(*names[: int(sys.argv[2])], sep="\n")' "${SEED:-0}" "$NUMBER")
  set -- "${names[@]}"
fi
mutmut run --max-children "${JOBS:-1}" "$@"
mutmut results | grep -v "not checked" || echo "Tests noticed all changes that were tried."
