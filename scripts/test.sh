#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Set-up, a build with tests, and every test. Arguments go to ctest: scripts/test.sh -R store
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh --test
scripts/build.sh dev
# Two tests at once, except those that measure time or start servers (RUN_SERIAL).
# exec: ctest's summary is the last output.
exec ctest --preset dev -j2 "$@"
