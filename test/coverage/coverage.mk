# What of src/ the tests take, by file; check-coverage compares it with test/COVERAGE.md.
.PHONY: coverage
coverage:
	@MAKE='$(MAKE)' sh test/coverage/measure.sh && python3 test/coverage/report.py build/coverage/all.json
