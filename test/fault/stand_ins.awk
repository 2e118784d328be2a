# awk -f stand_ins.awk fallible infallible (what nm -u says of the library): "NAME fault_NAME" for each function of libc
# that it uses and that can fail, for objcopy. One that is in neither list has not been thought about.

FNR == 1 { file++ }
file == 1 { fallible[$1]; next }
file == 2 { infallible[$1]; next }
{
    plain = $2
    sub(/64$/, "", plain)
    if (plain in fallible)
        print $2, "fault_" plain
    else if (!(plain in infallible) && plain !~ /^_/) {
        print "test/fault: the library uses " $2 ", which is neither in fallible nor in infallible" > "/dev/stderr"
        status = 1
    }
}
END { exit status }
