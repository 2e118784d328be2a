# The loop nests in the main loop of GLib.
. "$(dirname "$0")/prelude"
nested glib-2.0 nested_glib.c libglib2.0-dev
