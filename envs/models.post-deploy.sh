#!/usr/bin/env bash
# Runs in the activated environment: pyradiomics has no wheel, and its build needs this environment's numpy.
set -euo pipefail
python -m pip install --no-build-isolation --no-deps pyradiomics==3.0.1
