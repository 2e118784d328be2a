# The pages are good mdoc, and man finds every public function by its name.
. "$(dirname "$0")/prelude"
have mandoc || skip "mandoc is missing"

pages=$(find man -name '*.[37]' | sort)
[ -n "$pages" ] || fail "there are no pages"
# shellcheck disable=SC2086
mandoc -T lint -W warning $pages >"$work/lint" 2>&1 || true
[ ! -s "$work/lint" ] || { cat "$work/lint" && fail "mandoc complains"; }

$make install PREFIX="$work" >/dev/null
for name in $(public_functions) proc_options; do
    page=$work/share/man/man3/$name.3
    [ -s "$page" ] || { echo "no page for $name" && bad=1 && continue; }
    grep -Eq "^\.(Nm|Fn|Fo|Vt) $name( |\$)" "$page" || { echo "the page of $name does not name it" && bad=1; }
done
[ -s "$work/share/man/man7/libproc.7" ] || { echo "no libproc(7)" && bad=1; }

# No reference to a page of ours that there is not.
# shellcheck disable=SC2086
for reference in $(awk '$1 == ".Xr" && $2 ~ /^(proc_|libproc)/ { print $3 "/" $2 "." $3 }' $pages | sort -u); do
    [ -s "$work/share/man/man$reference" ] || { echo "a page refers to $reference" && bad=1; }
done
[ -z "${bad:-}" ]
