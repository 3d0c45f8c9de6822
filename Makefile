# Every verb makes the environment that it needs, in VENV; none needs another to have been run before.
#   make PYTHON=/path/to/python3.12 build   another Python
#   make VENV=.venv-3.12 build              another place for the environment
#   make FASTCALL_BUILD=debug test          another build of the Cython core: release, debug, trace, sanitize

PYTHON ?= python3
FASTCALL_BUILD ?= release
export FASTCALL_BUILD
unexport PYTHONDONTWRITEBYTECODE  # many tests start servers: they load what is compiled
VENV ?= .venv
BIN := $(VENV)/bin
CORE := $(wildcard src/fastcall/_*.pyx)
CORE_PARTS := $(wildcard src/fastcall/_core/*)
# The stamps bear the build and the Python: a change of either makes a new environment or a new core.
ENV_STAMP := $(VENV)/.environment-$(subst /,_,$(PYTHON))
CORE_STAMP := $(VENV)/.core-$(FASTCALL_BUILD)
CORE_TESTS := tests/fuzz tests/unit/test_codec*.py tests/unit/test_g711.py tests/unit/audio/test_timeline.py tests/unit/audio/test_endpointing.py
SESSION_TESTS := $(addprefix tests/wire/test_,$(addsuffix .py,calls fallback_calls google_adapter google_channels \
	google_load google_uplinks google_v2 half_open_ends leftovers long_call lossless session_threads))
SECONDS ?= 60
JOBS ?= 4
BENCH_OPTIONS := --benchmark-columns=min,median,rounds --benchmark-sort=name
SEEDS ?= 2000
FIRST ?= 0
SET ?= ../shared/turns

.PHONY: help build demo serve test thorough test-pythons test-uplinks check docs lossless agents bench bench-table gates turns density soak siege simulate-faults sanitize coverage fuzz lock clean

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

build: $(CORE_STAMP)  ## the environment in VENV=.venv, with the core compiled

$(ENV_STAMP): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "fastcall cannot be built here: there is no $(PYTHON) on the PATH; install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3 build" >&2; exit 1; }
	@"$(PYTHON)" tools/preflight.py
	@echo "building the environment in $(VENV), one to three minutes"
	@test "$$(cat $(VENV)/.python 2>/dev/null)" = "$(PYTHON)" || "$(PYTHON)" -m venv --clear $(VENV)
	@echo "$(PYTHON)" > $(VENV)/.python
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -e '.[all,dev]'
	@touch $@

$(CORE_STAMP): $(ENV_STAMP) setup.py $(CORE) $(CORE_PARTS)
	@echo "compiling the core ($(FASTCALL_BUILD))"
	@$(BIN)/python setup.py -q build_ext --inplace
	@rm -f $(VENV)/.core-*
	@touch $@

demo: build  ## a phone call on this machine: server, recognizer and caller
	@$(BIN)/fastcall demo

serve: build  ## the server on 127.0.0.1:8080, with the embedded recognizer unless Google is set up
	@$(BIN)/fastcall serve

test: build  ## all tests, JOBS=4 at once: most of them wait for a wire
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal
thorough: build  ## what `make test` tries some of, in full: more random examples, seeds and frames, every combination
	FASTCALL_THOROUGH=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal tests/unit tests/sim tests/fuzz $(addprefix tests/wire/test_,$(addsuffix .py,agent_calls calls console_browser emulator_command google_load leftovers sniffer))

test-pythons:  ## the tests on every other Python from 3.11 on that is here (PYTHONS=...), each in an environment of its own
	@set -e; for python in $(or $(PYTHONS),$$("$(PYTHON)" tools/pythons.py)); do echo "tests on $$python"; \
		$(MAKE) PYTHON=$$python VENV=.venv-$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') test; done

test-uplinks: build  ## the session's tests by each uplink, plaintext and TLS, 7 minutes
	@set -e; for uplink in native grpcio; do for roots in "" tests/data/localhost.pem; do echo "$$uplink $$roots"; \
		FASTCALL_THOROUGH=1 STT_UPLINK=$$uplink STT_TLS_ROOTS=$$roots $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(SESSION_TESTS); done; done

check: build  ## style, types, stubs, floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest $(patsubst src/fastcall/%.pyx,fastcall.%,$(CORE))
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint src
	$(BIN)/lint-imports
docs: build  ## the documentation's site, build/site/index.html; a dead link or an undocumented public name fails
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site

lossless: build  ## the proof that no word is lost or doubled, 7 minutes
	$(BIN)/python tests/proofs/lossless.py
agents: build  ## 100 calls with handlers: how soon a caller who breaks in is heard, and who moves whose audio
	$(BIN)/python tests/proofs/agents.py

bench: build  ## the tables of the benchmarks
	$(BIN)/python -m pytest benchmarks -q -s $(BENCH_OPTIONS) --benchmark-json=build/bench.json
gates: build  ## the speed ratios, and the bounds on turns (of the set in SET), that must hold
	TURNS_SET="$(SET)" $(BIN)/python -m pytest benchmarks -q -s -m gate $(BENCH_OPTIONS) --benchmark-json=build/gates.json
bench-table: build  ## the figures and plots of benchmarks/README.md, anew
	$(BIN)/python benchmarks/table.py
turns: build  ## how well turns are judged on the labelled set in SET=../shared/turns: tables, and benchmarks/turns.svg
	@$(BIN)/python benchmarks/turn_report.py --set "$(SET)" --plot benchmarks/turns.svg

simulate-faults: build  ## SEEDS=2000 calls of random speech, timing and faults; SEED=n VERBOSE=1 replays one; MUTATIONS=1 breaks rules on purpose
	@cd tests && ../$(BIN)/python -m $(if $(MUTATIONS),sim.mutations,sim.run $(if $(SEED),--seed $(SEED) $(if $(VERBOSE),--verbose),--seeds $(SEEDS) --first $(FIRST)))

# These two leave their build of the core in place; the next verb that wants another compiles it.
sanitize:  ## the unit tests under AddressSanitizer and UndefinedBehaviorSanitizer, leaks of the core too
	@$(MAKE) FASTCALL_BUILD=sanitize build
	$(BIN)/python tools/sanitized.py -m pytest -q tests/unit tests/fuzz

coverage:  ## which lines of the core its tests run, inside nogil functions and C headers too
	@$(MAKE) FASTCALL_BUILD=trace build
	@find build/trace -name '*.gcda' -delete
	$(BIN)/python -m pytest -q $(CORE_TESTS)
	$(BIN)/python tools/core_coverage.py --floor 98

fuzz: build  ## SECONDS=60 of fuzzing what reads from the wire, against the slow path
	cd tests && ../$(BIN)/python $(if $(filter sanitize,$(FASTCALL_BUILD)),../tools/sanitized.py) -m fuzz --seconds $(SECONDS)

density: build  ## how many live calls one core carries, against the replaced design (about 15 minutes)
	$(BIN)/python benchmarks/density.py $(DENSITY)
soak: build  ## 200 calls coming and going for 20 minutes (MINUTES=20): nothing lost, nothing left, memory flat
	$(BIN)/python benchmarks/soak.py $(or $(MINUTES),20)
siege: build  ## 200 calls on two workers, and everything that strangers do at once: no audio lost, none late (2 minutes)
	$(BIN)/python benchmarks/siege.py --judge-ages $(SIEGE)

lock: build  ## the locked dependencies of the image, from pyproject.toml
	$(BIN)/python tools/lock.py

clean:  ## remove all environments and everything built
	rm -rf .venv .venv-* build dist src/fastcall.egg-info src/fastcall/*.so src/fastcall/_*.c .mypy_cache .ruff_cache .pytest_cache
