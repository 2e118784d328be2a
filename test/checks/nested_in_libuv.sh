# The loop nests in a loop of libuv.
. "$(dirname "$0")/prelude"
nested libuv nested_libuv.c libuv1-dev
