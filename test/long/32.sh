# The library compiles for 32 bits, and passes the tests of test/unit there. A small cmocka of our own stands for the real one.
. "$(dirname "$0")/../checks/prelude"
have gcc && compiles gcc -m32 || skip "gcc makes no 32-bit programs here: install gcc-multilib"

own_cmocka build/32 gcc -m32
suite "$(unit_tests)" BUILD=build/32 WERROR=1 CC=gcc CFLAGS='-O2 -g -m32' CPPFLAGS="-I$cmocka" LDFLAGS="-L$cmocka"
total
