# Each row of `make bench` can be measured: of the bare system calls, of libproc, and of the libraries that are here. How
# high the figures are is no matter.
. "$(dirname "$0")/../checks/prelude"
[ "$(uname -s)" = Linux ] || skip "the benchmarks need Linux"

$make BUILD=build/native WERROR=1 bench-programs
PROC_BENCH_SECONDS=4 timeout 3000 build/native/bench/bench >"$work/said" 2>&1 || { cat "$work/said" && fail "status $?"; }
grep -q 'libproc: proc_spawn  *[0-9]' "$work/said" || { cat "$work/said" && fail "nothing was measured"; }
grep 'skipped: ' "$work/said" | sort -u
