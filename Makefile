# GNU make. What is built goes below build/native, or build/posix with POSIX_ONLY=1 (and on systems other than Linux).
# CFLAGS, CPPFLAGS and LDFLAGS are added to what the library needs; WERROR=1 makes warnings errors.

PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
CFLAGS ?= -O2 -g
OBJCOPY ?= objcopy

VERSION := $(shell sed -n 's/.*define PROC_VERSION "\(.*\)".*/\1/p' include/proc.h)
SONAME := libproc.so.$(firstword $(subst ., ,$(VERSION)))
SHARED := libproc.so.$(VERSION)

# ---- which files, which flags

SYSTEM := $(if $(filter-out 0,$(POSIX_ONLY)),posix,$(if $(filter Linux,$(shell uname -s)),native,posix))
BUILD ?= build/$(SYSTEM)

COMMON_SOURCES := $(sort $(wildcard src/*.c)) $(addprefix src/os/,child_side.c exitwatch_thread.c launch_fork.c socket.c sys.c)
LINUX_SOURCES := $(addprefix src/os/,exitwatch_pidfd.c launch_vfork.c poller_epoll.c sys_linux.c)
POSIX_SOURCES := $(addprefix src/os/,exitwatch_posix.c launch_posix.c poller_poll.c sys_posix.c)

native_SOURCES := $(COMMON_SOURCES) $(LINUX_SOURCES)
native_DEFINES := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64
posix_SOURCES := $(COMMON_SOURCES) $(POSIX_SOURCES)
posix_DEFINES := -D_XOPEN_SOURCE=700 -D_FILE_OFFSET_BITS=64 -DPROC_POSIX_ONLY

SOURCES := $($(SYSTEM)_SOURCES)
OBJECTS := $(SOURCES:src/%.c=$(BUILD)/obj/%.o)

ERRORS := $(if $(filter-out 0,$(WERROR)),-Werror)
WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
# No -flto: the objects are joined into one, whose hidden names are then made local.
LIB_FLAGS = -std=c11 -pthread -fPIC -fvisibility=hidden $($(SYSTEM)_DEFINES) -Iinclude -Isrc \
	$(WARNINGS) $(CPPFLAGS) $(CFLAGS) -fno-lto
SO_FLAGS = -shared -pthread -Wl,-soname,$(SONAME) -Wl,-z,now -Wl,-z,relro $(CFLAGS) -fno-lto $(LDFLAGS)
EXAMPLE_FLAGS = -Wall -Wextra -Iinclude $(CPPFLAGS) $(CFLAGS)
# The tests reach inside, and use what the system has even where the library does not.
TEST_FLAGS = -std=c11 -pthread -D_GNU_SOURCE $(filter -DPROC%,$($(SYSTEM)_DEFINES)) -Iinclude -Isrc -Itest/unit \
	-Wall -Wextra -Wshadow -Wstrict-prototypes $(CPPFLAGS) $(CFLAGS)
# Not with CFLAGS: it stands for any program, and a sanitizer in it would only disturb its limits and descriptors.
KID_FLAGS = -std=c11 -pthread -D_GNU_SOURCE -O2 -g -Wall -Wextra

TEST_NAMES := $(patsubst test/unit/%.c,%,$(sort $(wildcard test/unit/test_*.c)))
TEST_PROGRAMS := $(TEST_NAMES:%=$(BUILD)/unit/%)
TEST_SUPPORT := $(patsubst test/unit/%.c,$(BUILD)/unit/%.o,$(filter-out test/unit/test_%,$(wildcard test/unit/*.c)))
EXAMPLES := $(patsubst man/examples/%.c,$(BUILD)/examples/%,$(sort $(wildcard man/examples/*.c)))
PAGES := $(sort $(wildcard man/man3/*.3 man/man7/*.7))
C_FILES := $(sort $(wildcard include/*.h src/*.[ch] src/os/*.[ch] test/*/*.[ch] man/examples/*.c))

# ---- the library

.PHONY: all tests examples check demo amalgamation install uninstall format lint clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:
ifneq ($(filter demo bench bench-publish,$(MAKECMDGOALS)),)
.SILENT:
endif

all: $(BUILD)/libproc.a $(BUILD)/libproc.so

# Changes when a compiler, a flag or the list of files does; all that is built depends on it.
$(BUILD)/flags: export TEXT = $(CC) $(LIB_FLAGS) $(SO_FLAGS) $(SOURCES) $(TEST_SUPPORT)
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$$TEXT" | cmp -s - $@ || printf '%s\n' "$$TEXT" > $@

$(BUILD)/obj/%.o: src/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(LIB_FLAGS) $(ERRORS) -MMD -MP -c -o $@ $<

# One object, in which only the public names are global: nothing inside can clash with a name of the program's.
$(BUILD)/libproc.o: $(OBJECTS)
	$(CC) $(filter -m%,$(CFLAGS)) -r -nostdlib -Wl,--force-group-allocation -o $@ $(OBJECTS)
	$(OBJCOPY) --localize-hidden $@

$(BUILD)/libproc.a: $(BUILD)/libproc.o
	rm -f $@
	$(AR) rcs $@ $<

$(BUILD)/$(SHARED): $(OBJECTS)
	$(CC) $(SO_FLAGS) -o $@ $(OBJECTS)

$(BUILD)/libproc.so: $(BUILD)/$(SHARED)
	ln -sf $(SHARED) $(BUILD)/$(SONAME)
	ln -sf $(SONAME) $@

amalgamation: build/amalgamation/proc.c build/amalgamation/proc.h

build/amalgamation/proc.c: src/amalgamate.sh $(sort $(native_SOURCES) $(posix_SOURCES) $(wildcard src/*.h src/os/*.h))
	@mkdir -p $(@D)
	sh src/amalgamate.sh "$(COMMON_SOURCES)" "$(LINUX_SOURCES)" "$(POSIX_SOURCES)" > $@

build/amalgamation/proc.h: include/proc.h
	@mkdir -p $(@D)
	cp include/proc.h $@

# ---- programs: examples, tests

$(BUILD)/examples/%: man/examples/%.c $(BUILD)/libproc.a
	@mkdir -p $(@D)
	$(CC) $(EXAMPLE_FLAGS) $(ERRORS) -MMD -MP -MF $@.d -o $@ $< $(BUILD)/libproc.a $(LDFLAGS) -pthread

$(BUILD)/unit/%.o: test/unit/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(TEST_FLAGS) $(ERRORS) -MMD -MP -c -o $@ $<

# A test whose first lines hold "/* wrap: name name */" is linked with these names wrapped: -Wl,--wrap=name.
$(BUILD)/unit/%: $(BUILD)/unit/%.o $(TEST_SUPPORT) $(OBJECTS)
	$(CC) $(CFLAGS) -pthread -o $@ $^ $(LDFLAGS) -lcmocka \
		$$(sed -n '1,5s,^/\* wrap: \(.*\) \*/.*,\1,p' test/unit/$*.c | tr ' ' '\n' | sed 's/^/-Wl,--wrap=/')

$(BUILD)/kid: test/kid/kid.c $(wildcard test/kid/*.h) $(BUILD)/flags
	$(CC) $(KID_FLAGS) $(ERRORS) -static -o $@ $< 2>/dev/null || $(CC) $(KID_FLAGS) $(ERRORS) -o $@ $<

examples: $(EXAMPLES)

tests: $(TEST_PROGRAMS) $(EXAMPLES) $(BUILD)/kid

check:
	@MAKE='$(MAKE)' WERROR=1 test/run

demo: all examples
	@$(BUILD)/examples/demo

# check-NAME: test/long/NAME.sh, or test/checks/NAME.sh.
check-%: FORCE
	@MAKE='$(MAKE)' WERROR=1 test/run $*

# What a folder of tests needs beyond this is in a makefile of its own.
include $(wildcard test/*/*.mk)

# ---- installing

# "man3/other.3=page.3" for each further name in the NAME section of a page; it becomes a symbolic link.
MAN_LINKS = $(shell awk 'FNR == 1 { n = split(FILENAME, path, "/"); page = path[n]; dir = path[n - 1]; \
		own = page; sub(/\.[0-9]$$/, "", own); suffix = substr(page, length(own) + 1) } \
	/^\.Sh/ { naming = ($$2 == "NAME") } \
	naming && $$1 == ".Nm" { for (i = 2; i <= NF; i++) { sub(/,$$/, "", $$i); \
		if ($$i != "" && $$i != own) print dir "/" $$i suffix "=" page } }' $(PAGES) /dev/null)
LIBRARIES := libproc.a $(SHARED) $(SONAME) libproc.so

install: all
	install -d $(addprefix $(DESTDIR),$(INCLUDEDIR) $(LIBDIR)/pkgconfig $(MANDIR)/man3 $(MANDIR)/man7)
	install -m 644 include/proc.h $(DESTDIR)$(INCLUDEDIR)
	install -m 644 $(BUILD)/libproc.a $(BUILD)/$(SHARED) $(DESTDIR)$(LIBDIR)
	ln -sf $(SHARED) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libproc.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' \
		-e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|' \
		-e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|' \
		pkgconfig/libproc.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/libproc.pc
	for page in $(PAGES:man/%=%); do install -m 644 man/$$page $(DESTDIR)$(MANDIR)/$$page || exit 1; done
	for link in $(MAN_LINKS); do ln -sf $${link#*=} $(DESTDIR)$(MANDIR)/$${link%=*} || exit 1; done

uninstall:
	rm -f $(DESTDIR)$(INCLUDEDIR)/proc.h $(DESTDIR)$(LIBDIR)/pkgconfig/libproc.pc \
		$(addprefix $(DESTDIR)$(LIBDIR)/,$(LIBRARIES)) \
		$(addprefix $(DESTDIR)$(MANDIR)/,$(PAGES:man/%=%) $(foreach link,$(MAN_LINKS),$(firstword $(subst =, ,$(link)))))

# ---- for those who work on it

format:
	clang-format -i $(C_FILES)

lint: check-lint

clean:
	rm -rf build

-include $(OBJECTS:.o=.d) $(TEST_PROGRAMS:=.d) $(TEST_SUPPORT:.o=.d) $(EXAMPLES:=.d)
