# The programs in the pages' EXAMPLES are those of man/examples, letter by letter. A page has `.\" example: NAME.c`, then
# `.Bd -literal`, the program with the characters escaped that troff would change, and `.Ed`.
. "$(dirname "$0")/prelude"

escaped() {
    sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/'/\\\\(aq/g" -e 's/`/\\(ga/g' -e 's/\^/\\(ha/g' -e 's/~/\\(ti/g' \
        -e 's/^\./\\\&./' "$1"
}

shown() { # shown PAGE PROGRAM
    awk -v mark=".\\\\\" example: $2" '
        $0 == mark { inside = (getline > 0 && $0 == ".Bd -literal"); next }
        inside && $0 == ".Ed" { exit }
        inside' "$1"
}

for page in man/man3/*.3 man/man7/*.7; do
    programs=$(sed -n 's/^\.\\" example: //p' "$page")
    case $page in
    man/man3/*) [ -n "$programs" ] || { echo "$page: no example" && bad=1; } ;;
    esac
    for program in $programs; do
        shown "$page" "$program" >"$work/shown"
        escaped "man/examples/$program" >"$work/program" || bad=1
        diff -u "$work/program" "$work/shown" || { echo "$page: $program differs" && bad=1; }
    done
done
[ -z "${bad:-}" ]
