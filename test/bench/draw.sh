# draw.sh RESULTS.tsv DIRECTORY CAPTION: a picture for each topic whose figures are there, as DIRECTORY/TOPIC.svg.
set -eu

results=$1
directory=$2
caption=$3
if ! command -v gnuplot >/dev/null 2>&1; then
    echo "No pictures: install gnuplot-nox"
    exit 0
fi
mkdir -p "$directory"
data=$(mktemp)
trap 'rm -f "$data"' EXIT

# The same library has the same colour everywhere.
colour() {
    case $1 in
    "libproc, send") echo '#e58a84' ;;
    libproc*) echo '#c3180d' ;;
    vfork* | bare* | qsort*) echo '#222222' ;;
    posix_spawn | popen*) echo '#777777' ;;
    fork*) echo '#aaaaaa' ;;
    libuv) echo '#1f77b4' ;;
    GLib | nng) echo '#2c9a3f' ;;
    APR | ZeroMQ) echo '#d98a00' ;;
    *) echo '#8e5bb5' ;;
    esac
}

# draw TOPIC TITLE X-AXIS Y-AXIS KEY [GNUPLOT-LINE]
draw() {
    lines=$(awk -F '\t' -v topic="$1" '$1 == topic && !seen[$2]++ { print $2 }' "$results")
    if [ -z "$lines" ]; then
        return
    fi
    awk -F '\t' -v topic="$1" '$1 == topic { points[$2] = points[$2] $3 " " $4 "\n"; if (!seen[$2]++) order[n++] = $2 }
        END { for (i = 0; i < n; i++) printf "%s\n\n", points[order[i]] }' "$results" >"$data"
    plot=
    number=0
    while read -r line; do
        width=1.6
        case $line in libproc*) width=3 ;; esac
        plot="$plot${plot:+, }'$data' index $number with linespoints lw $width pt 7 ps 0.5 lc rgb '$(colour "$line")'"
        plot="$plot title '$line' noenhanced"
        number=$((number + 1))
    done <<END
$lines
END
    gnuplot <<END
set terminal svg size 760,460 font 'sans-serif,14' background 'white'
set output '$directory/$1.svg'
set title "$2" font ',16'
set xlabel "$3"
set ylabel "$4"
set logscale xy
set grid lc rgb '#dddddd' lw 1
set border 3
set bmargin 5
set label "$caption" at screen 0.01,0.03 font ',10' tc rgb '#777777' noenhanced
set tics nomirror
set key outside right $5 Left reverse samplen 2
set yrange [*:*]
$6
plot $plot
END
    echo "$directory/$1.svg"
}

bytes="set logscale x 2; set xtics ('64 B' 64, '1 KiB' 1024, '8 KiB' 8192, '64 KiB' 65536, '1 MiB' 1048576)"
held="set xrange [8:5500]; set xtics ('nothing' 10, '64 MiB' 64, '256 MiB' 256, '1 GiB' 1024, '4 GiB' 4096)"
micro="set ytics ('1 us' 1, '10 us' 10, '100 us' 100, '1 ms' 1e3, '10 ms' 1e4, '100 ms' 1e5, '1 s' 1e6)"
nano="set ytics ('10 ns' 10, '100 ns' 100, '1 us' 1000, '10 us' 1e4, '100 us' 1e5)"
rate="set ytics ('1/s' 0.001, '10/s' 0.01, '100/s' 0.1, '1000/s' 1, '10 000/s' 10, '100 000/s' 100, '1 million/s' 1e3,
    '10 million/s' 1e4, '100 million/s' 1e5)"
rate=$(echo "$rate" | tr '\n' ' ')
lower="(lower is better)"

draw spawn "Start a tiny program and wait for its end $lower" "memory that the parent holds" "" top "$held; $micro"
draw capture "Run a program and keep all of its output $lower" "output" "" top \
    "set xtics ('1 MiB' 1, '8 MiB' 8, '32 MiB' 32, '256 MiB' 256); set ytics ('1 ms' 1, '10 ms' 10, '100 ms' 100, '1 s' 1e3)"
draw trip1 "Round trip of a message, one processor $lower" "size of the message" "" top "$bytes; $micro"
draw trip2 "Round trip of a message, two processors $lower" "size of the message" "" top "$bytes; $micro"
draw rate1 "Messages one way, one processor (higher is better)" "size of the message" "" top "$bytes; $rate"
draw rate2 "Messages one way, two processors (higher is better)" "size of the message" "" top "$bytes; $rate"
draw events "An event in a loop, by children watched $lower" "children that are watched" "" top \
    "$nano; set xrange [8:14000]; set xtics (10, 100, 1000, '10 000' 1e4); set yrange [100:100000]"
draw short "A short child, started and captured in a loop $lower" "children at a time" "" top \
    "$micro; set xrange [0.8:80]; set xtics (1, 8, 64); set yrange [10:10000]"
draw timers "A timer, added and taken back $lower" "timers" "" top \
    "$nano; set xrange [700:140000]; set xtics ('1000' 1e3, '10 000' 1e4, '100 000' 1e5); set yrange [10:1000]"
