# Fault injection: the library's objects, joined, and made to call the stand-ins of test/fault instead of libc's functions.

FAULT_OBJECTS := $(patsubst test/fault/%.c,$(BUILD)/fault/%.o,$(filter-out test/fault/child.c,$(wildcard test/fault/*.c)))
FAULT_LISTS := test/fault/stand_ins.awk test/fault/fallible test/fault/infallible

$(BUILD)/fault/%.o: test/fault/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(TEST_FLAGS) -D_FILE_OFFSET_BITS=64 $(ERRORS) -fno-sanitize=all -MMD -MP -c -o $@ $<

$(BUILD)/fault/libproc.o: $(OBJECTS) $(FAULT_LISTS)
	@mkdir -p $(@D)
	$(CC) $(filter -m%,$(CFLAGS)) -r -nostdlib -Wl,--force-group-allocation -o $@ $(OBJECTS)
	nm -u $@ | awk -f $(FAULT_LISTS) - > $@.names
	$(OBJCOPY) --redefine-syms=$@.names $@

$(BUILD)/fault/fault: $(FAULT_OBJECTS) $(BUILD)/fault/libproc.o
	$(CC) $(CFLAGS) -pthread -o $@ $^ $(LDFLAGS)

$(BUILD)/fault/child: test/fault/child.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(KID_FLAGS) $(ERRORS) -static -o $@ $< 2>/dev/null || $(CC) $(KID_FLAGS) $(ERRORS) -o $@ $<

# A build with a fault put in: a copy of the source REPLACES, changed, is $(BUILD)/mutant/NAME.c. See test/fault/mutants.
$(BUILD)/mutant/%: $(BUILD)/mutant/%.c $(FAULT_OBJECTS) $(OBJECTS) $(BUILD)/fault/child
	$(CC) $(LIB_FLAGS) -w -c -o $@.o $<
	$(CC) $(filter -m%,$(CFLAGS)) -r -nostdlib -Wl,--force-group-allocation -o $@.lib.o $@.o \
		$(filter-out $(REPLACES:src/%.c=$(BUILD)/obj/%.o),$(OBJECTS))
	nm -u $@.lib.o | awk -f $(FAULT_LISTS) - > $@.names
	$(OBJCOPY) --redefine-syms=$@.names $@.lib.o
	$(CC) $(CFLAGS) -pthread -o $@ $(FAULT_OBJECTS) $@.lib.o $(LDFLAGS)
	cp $(BUILD)/fault/child $(@D)

.PHONY: fault
fault: $(BUILD)/fault/fault $(BUILD)/fault/child

-include $(FAULT_OBJECTS:.o=.d)
