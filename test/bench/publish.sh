# publish.sh RESULTS.txt PICTURES: puts the last run, and the pictures that README.md shows, beside this script.
set -eu

here=$(dirname "$0")
commit=$(git -C "$here" rev-parse --short HEAD 2>/dev/null || echo unknown)
git -C "$here" diff --quiet HEAD -- include src test/bench/*.[ch] 2>/dev/null || commit="$commit, with changes"
{
    echo "# Figures of one run"
    echo
    echo "\`make bench\` at commit $commit, $(date -u +%Y-%m-%d)."
    echo
    echo '```'
    cat "$1"
    echo '```'
} >"$here/RESULTS.md"
for picture in spawn rate2; do
    if [ -f "$2/$picture.svg" ]; then
        cp "$2/$picture.svg" "$here/$picture.svg"
    fi
done
echo "$here/RESULTS.md"
