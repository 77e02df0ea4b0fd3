# Functions that the set-up scripts share; to be sourced. $VENV is the environment.
TORCH=2.13.0
TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu

say() { echo "[set-up] $*"; }
stop() { echo "[set-up] $*" >&2; exit 1; }
pip_install() {
  "$VENV/bin/python" -m pip install --disable-pip-version-check "$@"
}

# The CPU build of torch where there is no NVIDIA GPU. PyPI's own build for Linux
# brings gigabytes of CUDA, so what pip plans is looked at before it downloads.
install_torch() {
  local plan cpu=()
  if "$VENV/bin/python" -c "import torch" 2>/dev/null; then return; fi
  if nvidia-smi -L >/dev/null 2>&1 || [ "${AAM_TORCH:-}" = cuda ]; then
    say "installing torch $TORCH with CUDA (gigabytes)"
    pip_install "torch==$TORCH"
    return
  fi
  if "$VENV/bin/python" -c "import sys, urllib.request as web
web.urlopen(sys.argv[1], timeout=5)" "$TORCH_CPU_INDEX/torch/" 2>/dev/null; then
    cpu=(--extra-index-url "$TORCH_CPU_INDEX")
  fi
  say "installing torch $TORCH for the CPU (about 200 MB)"
  if pip_install "${cpu[@]}" "torch==$TORCH+cpu" 2>/dev/null; then return; fi
  pip_install --quiet "pip>=23.2"  # older ones download packages to make the plan
  plan=$(pip_install --quiet --dry-run --report - "torch==$TORCH") ||
    stop "pip finds no torch $TORCH: is the network there?"
  case $plan in *'"nvidia-'*)
    stop "there is no NVIDIA GPU here, but only the CUDA build of torch $TORCH is" \
      "reached: give access to $TORCH_CPU_INDEX, or put a CPU wheel of torch into a" \
      "folder and set PIP_FIND_LINKS to it, or set AAM_TORCH=cuda to take the CUDA" \
      "build all the same." ;;
  esac
  pip_install "torch==$TORCH"
}
