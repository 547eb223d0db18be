# The thin front of the CMake build (CMakePresets.json has more of it).
#   make               build in build/
#   make demo          install what is missing, build, chat with the bundled demo model; MODEL=path: with
#                      that file, after fetching the common vocabularies
#   make check         install what is missing, build, run all tests
#   make install       PREFIX=/usr/local
#   make fuzz          every fuzz target, SECONDS=60 each, under ASan and UBSan; make clean

BUILD ?= build
PREFIX ?= /usr/local
SECONDS ?= 60
ifeq ($(shell uname),Darwin) # Homebrew keeps libedit's .pc file out of the default path
export PKG_CONFIG_PATH := $(shell brew --prefix libedit 2>/dev/null)/lib/pkgconfig:$(PKG_CONFIG_PATH)
endif

all:
	@test -f $(BUILD)/build.ninja || cmake -S . -B $(BUILD) -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	@cmake --build $(BUILD)

deps:
	@scripts/deps.sh

demo:
	@scripts/deps.sh $(if $(MODEL),--vocab)
	@$(MAKE) --no-print-directory all
	@scripts/demo.sh $(BUILD)/rwkv $(MODEL)

check: deps
	@$(MAKE) --no-print-directory all
	@ctest --test-dir $(BUILD) --output-on-failure

install: all
	cmake --install $(BUILD) --prefix $(PREFIX)

fuzz: deps
	@fuzz/run.sh $(BUILD)-fuzz $(SECONDS)

clean:
	rm -rf $(BUILD) $(BUILD)-*

.PHONY: all deps demo check install fuzz clean
