# Every fault of test/FAULTS.md has its row, 1 to 98, and every test and check that a row names is there; so for the classes
# of security holes, S1 to S15.
. "$(dirname "$0")/prelude"

awk -F'|' '
    $2 ~ /^ *S?[0-9]+ *$/ {
        gsub(/ /, "", $2)
        kind = $2 ~ /^S/ ? "S" : ""
        if ($2 != kind (++last[kind])) { print "row " $2 " stands where " kind last[kind] " should be"; exit }
        if ($4 !~ /`test_|`check / && $4 !~ /^ (Not part of the library yet|Cannot be shown): [^ ]/)
            print "row " $2 " names no test, and does not say why"
        n = split($4, piece, "`")
        if (n % 2 == 0) print "row " $2 " has an odd number of backticks"
        for (i = 2; i <= n; i += 2) print "-", $2, piece[i]
    }
    END { if (last[""] != 98 || last["S"] != 15) print "the last rows are " last[""] " and S" last["S"] }
' test/FAULTS.md >"$work/rows"

if grep -v '^- ' "$work/rows"; then
    fail "test/FAULTS.md is not as it should be"
fi

while read -r _ row kind names; do
    case $kind in
    check)
        [ -f "test/checks/$names.sh" ] || [ -f "test/long/$names.sh" ] || echo "row $row: there is no check $names"
        ;;
    test_*:)
        file=test/unit/${kind%:}.c
        [ -f "$file" ] || echo "row $row: there is no $file"
        [ -n "$names" ] || echo "row $row: $kind without a test"
        for name in $(echo "$names" | tr -d ','); do
            grep -qs "[^_A-Z]TEST($name)" "$file" || echo "row $row: $file has no test $name"
        done
        ;;
    *) echo "row $row: '$kind $names' names neither a test nor a check" ;;
    esac
done <"$work/rows" >"$work/missing"

if [ -s "$work/missing" ]; then
    cat "$work/missing"
    fail "test/FAULTS.md names what is not there"
fi
