# SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0-only
# A thin front door: Meson builds (meson.build), tools/ does the rest.
#
#   make                   build everything in build/
#   make programs          the same without tests and benchmarks
#   make demo              run the example with a small EPC, and show what the EPC did
#   make check             every test
#   make kernel-selftests  the Linux kernel's own SGX tests, unmodified
#   make lint              formatter, layers, sizes, spelling, shell scripts
#   make asan | tsan       the tests under AddressSanitizer and UBSan | ThreadSanitizer
#   make clang             the tests of a build by clang, which warns of other things
#   make fuzz              each fuzz target for FUZZ_SECONDS (60), with clang
#   make bench             the benchmarks
#   make install           into PREFIX (/usr/local), DESTDIR as usual

BUILD ?= build
PREFIX ?= /usr/local
MESONFLAGS ?=

.PHONY: all programs setup demo check kernel-selftests lint asan tsan clang fuzz bench install help clean

all: $(BUILD)/build.ninja
	ninja -C $(BUILD)

programs: $(BUILD)/build.ninja
	ninja -C $(BUILD) programs

setup:
	tools/setup build

$(BUILD)/build.ninja: | setup
	meson setup $(BUILD) --prefix $(PREFIX) $(MESONFLAGS)

demo: programs
	examples/demo $(BUILD)

check: all
	meson test -C $(BUILD) --no-rebuild --print-errorlogs

kernel-selftests: programs
	tools/setup kernel-selftests
	tools/kernel-selftests --build-dir $(BUILD)

lint: all
	tools/setup lint
	meson test -C $(BUILD) --no-rebuild --print-errorlogs --suite lint

# The runtime and what runs under it stay out: a preloaded library cannot bring a sanitizer along.  UBSan would go on
# after what it finds, and the test would pass.
asan: setup
	test -f build-asan/build.ninja || meson setup build-asan \
		-Db_sanitize=address,undefined -Db_lundef=false $(MESONFLAGS)
	ninja -C build-asan
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 meson test -C build-asan --no-rebuild --print-errorlogs --timeout-multiplier 5 \
		--no-suite integration --no-suite lint

# Tests fork from processes with threads; TSan would call the threads that the child lacks leaked.
tsan: setup
	test -f build-tsan/build.ninja || meson setup build-tsan \
		-Db_sanitize=thread -Db_lundef=false $(MESONFLAGS)
	ninja -C build-tsan
	TSAN_OPTIONS=report_thread_leaks=0 meson test -C build-tsan --no-rebuild --print-errorlogs --timeout-multiplier 10 \
		--no-suite integration --no-suite lint

clang: setup
	tools/setup fuzz
	test -f build-clang/build.ninja || CC=clang meson setup build-clang --werror $(MESONFLAGS)
	ninja -C build-clang
	meson test -C build-clang --no-rebuild --print-errorlogs --no-suite lint

FUZZ_SECONDS ?= 60
fuzz: setup
	tools/setup fuzz
	test -f build-fuzz/build.ninja || CC=clang meson setup build-fuzz -Dfuzz=true \
		-Db_sanitize=address,undefined -Db_lundef=false \
		-Dc_args='-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined' $(MESONFLAGS)
	tools/fuzz build-fuzz $(FUZZ_SECONDS)

bench: all
	meson test -C $(BUILD) --benchmark --verbose

# A PREFIX that is given now, and not when the build folder was made, counts.
install: $(BUILD)/build.ninja
	$(if $(filter command environment,$(firstword $(origin PREFIX))),meson configure $(BUILD) -Dprefix=$(PREFIX))
	ninja -C $(BUILD)
	meson install -C $(BUILD) --no-rebuild

help:
	@sed -n 's/^#   //p' Makefile

clean:
	rm -rf $(BUILD) build-asan build-clang build-fuzz build-tsan
