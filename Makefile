# posemill: two commands for a newcomer, `make demo` and `make test`; the rest is for those who work on it.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_OUT ?= out/demo
MOCAP ?= ../shared/data/mocap
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-fast test-long lint format bench faults fuzz results results-released install clean

install: $(READY)

# torch first and pinned: otherwise pip draws several GB of CUDA packages on machines that only have a CPU.
$(READY): pyproject.toml constraints.txt
	@echo "Installing posemill into $(VENV) (once; a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet torch==2.13.0
	@$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,s3,gcs,azure]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/posemill demo --out $(DEMO_OUT)

test: $(READY) lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not long"

# What would carry `make test` over ten minutes on two cores: Ray Train's worker groups, mostly.
test-long: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m long

test-fast: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/unit tests/golden

lint: $(READY)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-cache > .lint-imports.log 2>&1 || (cat .lint-imports.log; exit 1)
	@$(BIN)/basedpyright --level error > .pyright.log 2>&1 || (tail -40 .pyright.log; exit 1)
	@$(BIN)/codespell -q 3 README.md ARCHITECTURE.md CHANGELOG.md docs poses estimators augment storage pipelines jobs

format: $(READY)
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks $(WRITE)

# The fault campaign (docs/reliability.md): hundreds of injected faults, two at a time. FAULTS="--only driver" for a part.
faults: $(READY)
	@$(BIN)/python -m tests.faults.campaign $(WRITE) $(FAULTS)

results: $(READY)
	@$(BIN)/posemill run results --set source=$(MOCAP) --set out=out/results
	@$(BIN)/python -m benchmarks.results out/results

results-released: $(READY)
	@$(BIN)/posemill run results_released --set source=$(MOCAP) --set out=out/results_released
	@$(BIN)/python -m benchmarks.results out/results_released

# Coverage-guided fuzzing of every reader of outside bytes, FUZZ_S seconds each (docs/security.md); what breaks is kept.
FUZZ_S ?= 60
FUZZ_TARGETS ?= bvh asf_amc clips_npz h36m_npz npz_member pickle deepmimic manifest commit plan checkpoint image recipe
fuzz: $(READY)
	@$(BIN)/pip install --quiet atheris==3.0.0
	@POSEMILL_FUZZ_EXAMPLES=1000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/fuzz
	@mkdir -p out/fuzz
	@for target in $(FUZZ_TARGETS); do echo "$$target"; OMP_NUM_THREADS=1 \
	  $(BIN)/python -m tests.fuzz.run_atheris $$target out/fuzz/$$target -max_total_time=$(FUZZ_S) -verbosity=0 \
	  > out/fuzz/$$target.log 2>&1 || { tail -40 out/fuzz/$$target.log; exit 1; }; done

clean:
	rm -rf $(VENV) out build *.egg-info
