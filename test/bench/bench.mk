# make bench: builds the harness and a peer for each library that is installed, measures (a few minutes), and draws.
# make bench-publish: the same, and what README.md shows is replaced by what came out.

.PHONY: bench bench-programs bench-publish

BENCH := $(BUILD)/bench
BENCH_COMMIT = $$(git describe --always --dirty 2>/dev/null || echo unknown)
BENCH_FLAGS = -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Wshadow -Iinclude $(CPPFLAGS) $(CFLAGS)
BENCH_PEERS := $(patsubst test/bench/%.c,$(BENCH)/%.so,$(sort $(wildcard test/bench/peer_*.c)))
BENCH_OBJECTS := $(addprefix $(BENCH)/,bench.o cases.o process.o table.o topics.o)

$(BENCH)/%.o: test/bench/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(BENCH_FLAGS) $(ERRORS) -pthread -MMD -MP -c -o $@ $<

$(BENCH)/bench: $(BENCH_OBJECTS)
	$(CC) $(CFLAGS) -rdynamic -pthread -o $@ $^ $(LDFLAGS) -ldl

# A peer whose library is not here is not built: the harness says so.
$(BENCH)/peer_%.so: test/bench/peer_%.c test/bench/bench.h test/bench/peer.sh $(BUILD)/libproc.a
	@rm -f $@
	libraries=$$(CC='$(CC)' sh test/bench/peer.sh $*) || exit 0; \
	$(CC) $(BENCH_FLAGS) $(ERRORS) -pthread -fPIC -shared -o $@ $< $$libraries \
		$(if $(filter libproc_%,$*),$(BUILD)/libproc.a) $(LDFLAGS)

# What is started: the smallest programs that can be made here.
TINY = $(CC) -O2 -static -nostdlib -ffreestanding $(1) -o $@ $< 2>/dev/null || \
	$(CC) -O2 -static $(1) -o $@ $< 2>/dev/null || $(CC) -O2 $(1) -o $@ $<

$(BENCH)/tiny: test/bench/tiny.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call TINY)

$(BENCH)/idle: test/bench/tiny.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call TINY,-DBENCH_IDLE)

$(BENCH)/node.js: test/bench/node.js
	@mkdir -p $(@D)
	cp $< $@

bench-programs: $(BENCH)/bench $(BENCH_PEERS) $(BENCH)/tiny $(BENCH)/idle $(BENCH)/node.js

bench: bench-programs
	@$(BENCH)/bench > $(BENCH)/results.txt & pid=$$!; trap "kill $$pid" INT TERM; \
		tail -n +1 -f --pid=$$pid $(BENCH)/results.txt; wait $$pid; status=$$?; \
		sh test/bench/draw.sh $(BENCH)/results.tsv build/bench \
			"$$(head -n 1 $(BENCH)/results.txt); libproc $(BENCH_COMMIT)" && exit $$status

bench-publish: bench
	@sh test/bench/publish.sh $(BENCH)/results.txt build/bench $(BENCH_COMMIT)

-include $(BENCH_OBJECTS:.o=.d)
