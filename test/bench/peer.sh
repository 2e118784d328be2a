# peer.sh PEER: what peer_PEER.c is compiled and linked with; fails where its library is not installed.
set -eu

with_header() { # with_header HEADER LIBRARIES
    echo "#include <$1>" | ${CC:-cc} -E - >/dev/null 2>&1 && echo "$2"
}

case $1 in
floor_* | libproc_*) ;;
uv_*) pkg-config --cflags --libs libuv ;;
glib) pkg-config --cflags --libs gio-2.0 ;;
apr) pkg-config --cflags --libs apr-1 ;;
zmq) pkg-config --cflags --libs libzmq ;;
nng) with_header nng/nng.h -lnng ;;
imsg) with_header imsg.h -lbsd ;;
node) command -v node >/dev/null ;;
esac 2>/dev/null
