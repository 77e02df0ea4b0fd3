#!/usr/bin/env bash
# Set up everything that q2-aam needs in one environment inside the project.
#
#   bash scripts/setup.sh           set up, or complete what is there
#   bash scripts/setup.sh --where   print the folder of the environment
#
# Needs the network the first time only.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
. scripts/common.sh
DEBIAN_PACKAGES=(qiime q2cli q2-types q2-feature-table q2-metadata q2-diversity-lib
  q2-phylogeny q2-sample-classifier python3-venv)

find_conda() {
  local name
  for name in mamba micromamba conda "${MAMBA_EXE:-}" "${CONDA_EXE:-}"; do
    [ -n "$name" ] && command -v "$name" && return
  done
  return 1
}

setup_conda() {
  export CONDA_ALWAYS_YES=true MAMBA_ALWAYS_YES=true
  if [ -d .conda/conda-meta ]; then
    say "completing the environment .conda/ with $CONDA"
    "$CONDA" env update --prefix "$PWD/.conda" --file environment.yml
  else
    say "creating the environment .conda/ with $CONDA (some minutes)"
    "$CONDA" env create --prefix "$PWD/.conda" --file environment.yml
  fi
  .conda/bin/python -m pip install --quiet --no-deps --no-build-isolation -e .
}

install_debian_packages() {
  local missing=() package root=()
  for package in "${DEBIAN_PACKAGES[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null |
      grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing with apt: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || stop "apt needs root: run as root, or install" \
      "sudo, or run 'apt-get install ${missing[*]}' as root and start again."
    root=(sudo)
  fi
  "${root[@]}" apt-get update -q
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
}

make_venv() {
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv --system-site-packages .venv
  # Debian calls its h5py 'h5py.-debian-h5py-serial'. biom-format asks for 'h5py', so
  # without this second name pip would install another one beside it, and the plugin
  # would not load. The constraints keep pip from replacing Debian's libraries.
  .venv/bin/python - <<'PYTHON'
import importlib.metadata, pathlib, sys, sysconfig

import h5py

info = pathlib.Path(sysconfig.get_path("purelib"), f"h5py-{h5py.__version__}.dist-info")
info.mkdir(exist_ok=True)
text = f"Metadata-Version: 2.1\nName: h5py\nVersion: {h5py.__version__}\n"
(info / "METADATA").write_text(text)
(info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/RECORD,,\n")

shared = "numpy pandas scipy scikit-learn scikit-bio biom-format h5py matplotlib click psutil"
pins = [f"{name}=={importlib.metadata.version(name)}" for name in shared.split()]
folder = pathlib.Path(sys.prefix)
(folder / "constraints.txt").write_text("\n".join(pins) + "\n")
(folder / "pip.conf").write_text(f"[install]\nconstraint = {folder}/constraints.txt\n")
PYTHON
}

# Debian's /usr/bin/qiime runs outside of the venv and would not see the plugin.
write_qiime() {
  cat > .venv/bin/qiime <<PYTHON
#!$PWD/.venv/bin/python
import os
import sys

import q2cli.util

# The cache of the plugins belongs to this environment, as with conda.
q2cli.util.get_cache_dir = lambda: os.path.join(sys.prefix, "var", "q2cli", "cache")

from q2cli.__main__ import qiime

qiime(prog_name="qiime")
PYTHON
  chmod +x .venv/bin/qiime
}

setup_debian() {
  install_debian_packages
  say "completing the environment .venv/"
  make_venv
  install_torch
  # From 82 on, setuptools leaves pkg_resources, which QIIME 2 2022.11 imports, to
  # Debian's own package.
  pip_install --quiet "setuptools>=82"
  pip_install --quiet --no-build-isolation -e ".[dev]"
  write_qiime
}

CONDA=$(find_conda | head -n 1) || true
if [ "${1:-}" = --where ]; then
  if [ -n "$CONDA" ]; then echo .conda; else echo .venv; fi
elif [ -n "$CONDA" ]; then
  setup_conda
elif command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
  setup_debian
else
  stop "q2-aam needs QIIME 2: install mamba, micromamba or conda" \
    "(https://conda-forge.org/download/), or use Debian 12; then start again."
fi
