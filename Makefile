# Innervate. `make run` and `make test` set up what they need; `make help` lists the rest.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run test lint typecheck imports unit bench bench-link bench-teach fuzz firmware eval train setup links packages lock clean clean-venv

PY := .venv/bin/python
INNERVATE := .venv/bin/innervate
BOARD ?= emulator
SCENARIO ?= boards/scenarios/demo.toml
OUT ?= out
# Two processes at least: some tests wait for a clock. Four at most: each one loads the model.
CORES := $(shell nproc 2>/dev/null || echo 2)
JOBS ?= $(shell if [ $(CORES) -gt 4 ]; then echo 4; elif [ $(CORES) -lt 2 ]; then echo 2; else echo $(CORES); fi)
# Numeric libraries would otherwise start a thread per core in every process.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(PY) -m pytest --durations=15 --durations-min=1

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make run BOARD=emulator_mcu       the emulator with the firmware's ELF in QEMU, in real time"
	@echo "  make run BOARD=laptop             your own microphone, webcam and keyboard"
	@echo "  make run SCENARIO=my_scene.toml   a scenario of your own in the emulator"

run: ## set up, then watch the device work; leaves out/events.jsonl and out/timeline.png
ifeq ($(BOARD),emulator)
	@.ci/setup run
	@mkdir -p $(OUT)
	$(INNERVATE) run --board $(BOARD) --scenario $(SCENARIO) --events $(OUT)/events.jsonl --picture $(OUT)/timeline.png $(ARGS)
else ifeq ($(BOARD),emulator_mcu)
	@.ci/setup mcu
	@mkdir -p $(OUT)
	@$(MAKE) --no-print-directory -s -C firmware_bridge/firmware stm32f405
	$(INNERVATE) run --board $(BOARD) --scenario $(SCENARIO) --events $(OUT)/events.jsonl --picture $(OUT)/timeline.png $(ARGS)
else
	@.ci/setup run
	@.ci/setup device
	@mkdir -p $(OUT)
	$(INNERVATE) run --board $(BOARD) --events $(OUT)/events.jsonl $(ARGS)
endif

test: ## set up, then all checks: lint, types, import rules, tests
	@.ci/setup dev
	@$(MAKE) --no-print-directory lint typecheck imports unit

lint: ## ruff over the whole tree
	@.ci/setup dev
	$(PY) -m ruff check .

typecheck: ## mypy --strict over the whole tree
	@.ci/setup dev
	$(PY) -m mypy -p innervate -p tests
	$(PY) -m mypy .ci/house.py

imports: ## who may import whom
	@.ci/setup dev
	@PYTHONPATH=.links .venv/bin/lint-imports --no-logo --no-cache

unit: ## the tests alone; TESTS=tests/loop for one folder
	@.ci/setup dev
	@echo "tests that need the machine for themselves, then all others"
	$(PYTEST) -m alone $(TESTS) || [ $$? -eq 5 ]  # 5: no such test in $(TESTS)
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not alone" $(TESTS)

bench: ## speed and memory on this machine
	@.ci/setup bench
	$(ONE_THREAD) $(INNERVATE) bench $(ARGS)

firmware: ## the microcontroller's firmware, all of it, into out/firmware
	@.ci/setup mcu
	@$(MAKE) --no-print-directory -C firmware_bridge/firmware all update size

bench-link: ## the link to the microcontroller, against the raw echo of the same QEMU
	@.ci/setup mcu
	@$(MAKE) --no-print-directory -s -C firmware_bridge/firmware host storm stm32f405 echo
	$(PY) -m innervate.firmware_bridge.bench $(ARGS)

bench-teach: ## gradients, teaching and serving, each figure with its goal; ARGS="--only taught" for one group
	@.ci/setup dev
	$(ONE_THREAD) $(PY) -m innervate.models.bench.teach $(ARGS)

fuzz: ## the fuzzers on both ends of the link, half an hour each; SECONDS=60 for less
	@.ci/setup dev
	@$(MAKE) --no-print-directory -s -C firmware_bridge/firmware fuzz host
	@mkdir -p out/fuzz
	out/firmware/fuzz -max_total_time=$(or $(SECONDS),1800) -max_len=1200 -print_final_stats=1 -artifact_prefix=out/fuzz/ out/fuzz
	PYTHONPATH=.links:. $(PY) -m tests.firmware_bridge.fuzz --seconds $(or $(SECONDS),1800)

eval: ## how often the device does what it is told, with 95 % intervals
	@.ci/setup run
	$(ONE_THREAD) $(INNERVATE) eval $(ARGS)

train: ## make the bundle models/nano again from nothing; resumes after a kill
	@.ci/setup dev
	$(PY) -m innervate.models.train $(ARGS)

setup: ## everything that the other targets install, and nothing else
	@.ci/setup dev

links: ## the folder .links, which gives editors and mypy the names innervate.X
	@python3 .ci/house.py links

packages: ## rewrite the package list of setup.cfg from the tree
	@python3 .ci/house.py packages

lock: ## resolve the lock files anew from setup.cfg
	@.ci/setup dev
	@$(PY) -m pip install --quiet --disable-pip-version-check uv
	@$(PY) .ci/house.py lock --uv .venv/bin/uv

clean: ## remove what builds, checks and runs leave behind
	rm -rf build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

clean-venv: clean ## the same, and the Python environment
	rm -rf .venv .links
