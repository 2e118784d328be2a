#!/bin/sh
# What of src/ no test takes, on either build: at least 95 % of the branches are taken, and every line but those that
# test/COVERAGE.md has, with the reason for each.
# shellcheck source-path=SCRIPTDIR/../checks
. "$(dirname "$0")/../checks/prelude"

status=0
MAKE="${MAKE:-make}" sh test/coverage/measure.sh || status=$?
[ $status -ne 77 ] || exit 77
python3 test/coverage/report.py build/coverage/all.json test/COVERAGE.md || status=1
exit $status
