# What of src/ the tests take, by file; check-coverage compares it with test/COVERAGE.md.
.PHONY: coverage
coverage:
	@MAKE='$(MAKE)' sh test/coverage/measure.sh && python3 test/coverage/report.py build/coverage/all.json

# COVERAGE=1, of measure.sh: library, tests and examples count.
ifneq ($(COVERAGE),)
CFLAGS := -O0 -g --coverage -fprofile-update=atomic -fdata-sections
$(TEST_PROGRAMS) $(BUILD)/fault/fault: $(BUILD)/forked.o
$(TEST_PROGRAMS) $(BUILD)/fault/fault: private LDFLAGS += -Wl,-T,test/coverage/counters.ld

$(BUILD)/forked.o: test/coverage/forked.c
	@mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -c -o $@ $<
endif
