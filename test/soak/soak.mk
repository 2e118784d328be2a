# make soak: some five minutes of children and messages that are killed, stopped and slowed down at random; then nothing
# must be lost, left behind or larger than before. CHILDREN and MESSAGES say how many; FULL=1 is a million children. SEED
# repeats the choices of a run.

CHILDREN ?= $(if $(FULL),1000000,200000)
MESSAGES ?= $(if $(FULL),200000000,50000000)
SOAK_OBJECTS := $(patsubst test/soak/%.c,$(BUILD)/soak/%.o,$(wildcard test/soak/*.c))

.PHONY: soak

$(BUILD)/soak/%.o: test/soak/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE -Iinclude -Wall -Wextra -Wshadow -Wstrict-prototypes -pthread $(CPPFLAGS) $(CFLAGS) \
		$(ERRORS) -MMD -MP -c -o $@ $<

$(BUILD)/soak/soak: $(SOAK_OBJECTS) $(BUILD)/libproc.a
	$(CC) $(CFLAGS) -pthread -o $@ $^ $(LDFLAGS)

soak: $(BUILD)/soak/soak
	$(BUILD)/soak/soak $(CHILDREN) $(MESSAGES) $(SEED)

-include $(SOAK_OBJECTS:.o=.d)
