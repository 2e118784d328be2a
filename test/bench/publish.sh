# publish.sh RESULTS.txt PICTURES COMMIT: puts the last run, and the pictures that README.md shows, beside this script.
set -eu

here=$(dirname "$0")
{
    echo "# Figures of one run"
    echo
    echo "\`make bench\` at commit $3, $(date -u +%Y-%m-%d)."
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
