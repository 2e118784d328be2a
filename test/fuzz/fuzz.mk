# Fuzz targets: test/fuzz/fuzz_NAME.c, with what they have learned in test/fuzz/corpus/NAME.
#   make fuzz-NAME     runs one with clang's libFuzzer and its sanitizers until it is stopped, or FUZZ_ARGS say otherwise;
#                      what it learns stays below build/fuzz/corpus, what breaks is left below build/fuzz/found
#   make fuzz-smoke    runs each for SECONDS_EACH (60)
# Elsewhere (test/checks/corpus.sh) the targets only run their corpus, and need no clang.

FUZZ_NAMES := $(patsubst test/fuzz/fuzz_%.c,%,$(sort $(wildcard test/fuzz/fuzz_*.c)))
REPLAYS := $(FUZZ_NAMES:%=$(BUILD)/replay/%)
SECONDS_EACH ?= 60
FUZZ_CC ?= clang
FUZZ_SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FUZZ_MAKE = $(MAKE) BUILD=build/fuzz CC=$(FUZZ_CC) LDFLAGS= FUZZER=-fsanitize=fuzzer \
	CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link $(FUZZ_SANITIZERS)'
# Not more than that for one input: seconds, and MiB in all or at once.
FUZZ_BOUNDS := -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=2048

.PHONY: fuzz-smoke replays

$(BUILD)/fuzz/%.o: test/fuzz/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(TEST_FLAGS) $(ERRORS) -MMD -MP -c -o $@ $<

# A target may take a source file in whole, to see its static functions: then the archive's object is not asked for.
$(BUILD)/fuzz/inside.a: $(OBJECTS)
	@mkdir -p $(@D)
	rm -f $@
	$(AR) rcs $@ $(OBJECTS)

# "/* wrap: name name */" in its first lines does what it does in test/unit.
define LINK_FUZZ
@mkdir -p $(@D)
$(CC) $(CFLAGS) $(FUZZER) -pthread -o $@ $^ $(LDFLAGS) \
	$$(sed -n '1,9s,^/\* wrap: \(.*\) \*/.*,\1,p' test/fuzz/fuzz_$*.c | tr ' ' '\n' | sed 's/^/-Wl,--wrap=/')
endef

$(BUILD)/target/%: $(BUILD)/fuzz/fuzz_%.o $(BUILD)/fuzz/inside.a
	$(LINK_FUZZ)

$(BUILD)/replay/%: $(BUILD)/fuzz/fuzz_%.o $(BUILD)/fuzz/replay.o $(BUILD)/fuzz/inside.a
	$(LINK_FUZZ)

replays: $(REPLAYS)

$(FUZZ_NAMES:%=fuzz-%): fuzz-%: FORCE
	+@$(FUZZ_MAKE) build/fuzz/target/$*
	@mkdir -p build/fuzz/corpus/$* build/fuzz/found
	build/fuzz/target/$* $(FUZZ_BOUNDS) -artifact_prefix=build/fuzz/found/$*- $(FUZZ_ARGS) \
		build/fuzz/corpus/$* $(wildcard test/fuzz/corpus/$*)

fuzz-smoke:
	+@for name in $(FUZZ_NAMES); do \
		$(MAKE) -s fuzz-$$name FUZZ_ARGS='-max_total_time=$(SECONDS_EACH) -print_final_stats=1' || exit 1; \
	done

-include $(FUZZ_NAMES:%=$(BUILD)/fuzz/fuzz_%.d) $(BUILD)/fuzz/replay.d
