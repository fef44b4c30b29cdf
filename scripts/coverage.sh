#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds the preset coverage, runs the unit tests and the simulator, and prints which lines of each folder
# of src they reach.
#
#   scripts/coverage.sh [SEEDS]     seeds of the simulator (100)
set -eu
cd "$(dirname "$0")/.."
cmake --preset coverage
cmake --build --preset coverage
find build-coverage -name '*.gcda' -delete
ctest --preset coverage --parallel 2 --tests-regex '^test_' --label-exclude 'bench|cluster|scripts' ||
    echo "tests have failed: the lines that they reached count" >&2
# One process for each seed: a campaign's jobs end without writing their counts.
for seed in $(seq "${1:-100}"); do
    build-coverage/tests/simulation/run --seed "$seed" >build-coverage/simulation.log
done

# gcov prints two lines a file: File 'PATH', and Lines executed:85.71% of 42.
find build-coverage/src -name '*.gcno' -exec gcov --no-output {} + 2>/dev/null | awk -F '[:%]' '
    /^File/ { folder = match($0, /src\/[a-z]+\/[a-z_0-9]+\.c/) ? substr($0, RSTART + 4, RLENGTH - 4) : ""
              sub(/\/.*/, "", folder) }
    /^Lines executed/ && folder != "" { count = $3; sub(/.*of /, "", count)
                                        lines[folder] += count; reached[folder] += $2 * count / 100
                                        folder = "" }
    END { for (folder in lines)
              printf "%-12s %5.1f %% of %5d lines\n", folder, 100 * reached[folder] / lines[folder], lines[folder] }
' | sort
