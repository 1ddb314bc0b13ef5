# The two commands of a new user are `make demo` and `make test`; neither needs Docker or a service.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export DAGSTER_HOME := $(CURDIR)
# XGBoost's threads spin while they wait: beside any other busy process that costs ten times the time.
export OMP_WAIT_POLICY := PASSIVE
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help install demo dev test test-fast check format clean
.PHONY: serve bench bench-backfill bench-handbook bench-loop bench-paysim bench-training
.PHONY: bench-serving bench-store bench-online soak

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-16s %s\n", $$1, $$2}'

install: $(INSTALLED) ## Create .venv with the tested versions

$(INSTALLED): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Python 3.11 to 3.13 is needed, this is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11 …")'
	@echo "Installing into $(VENV), about two minutes the first time"
	@"$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on -c constraints.txt -e '.[dev]'
	@touch $@

demo: install ## Install, then run history and 31 live days of the simulator
	$(BIN)/fraud-assets simulate --days 31

dev: install ## Open the Dagster UI on http://127.0.0.1:3000
	@mkdir -p data
	$(BIN)/dagster dev --host 127.0.0.1 --workspace workspace.yaml

serve: install ## Start the scoring API on http://127.0.0.1:8000
	$(BIN)/fraud-assets serve

test: install ## Run all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: install ## Run the tests that take less than ten seconds each
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

check: install ## Formatting, lint, types, layers, security, definitions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -r fraud_assets -c pyproject.toml
	$(BIN)/dagster definitions validate --workspace workspace.yaml

format: install ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: bench-backfill bench-training bench-handbook bench-loop bench-paysim $(if $(HANDBOOK),bench-online) bench-store bench-serving ## Run all benchmarks

bench-backfill: install ## 6.3 million rows in 31 days, against the bare library calls
	$(BIN)/python benchmarks/backfill.py

bench-training: install ## A million rows, 200 trees, against bare xgboost.train
	$(BIN)/python benchmarks/training.py

bench-handbook: install ## The Handbook's tables, redone and beaten (HANDBOOK=/path/to/handbook_raw.parquet)
	$(BIN)/python benchmarks/handbook.py $(if $(HANDBOOK),--data "$(HANDBOOK)")

bench-loop: install ## Our loop against never, daily, weekly and triggered retraining (HANDBOOK=… adds the Handbook)
	$(BIN)/python benchmarks/loop.py $(if $(HANDBOOK),--handbook "$(HANDBOOK)")

bench-paysim: install ## What PaySim's balances claim (PAYSIM=/path/to/paysim_log.csv)
	$(BIN)/python benchmarks/paysim.py $(if $(PAYSIM),--data "$(PAYSIM)")

bench-online: install ## Online features: equal to batch, and how fast (HANDBOOK=/path/to/handbook_raw.parquet)
	$(BIN)/python benchmarks/online_features.py --handbook "$(HANDBOOK)"

bench-store: install ## A day of predictions into PostgreSQL, against COPY
	$(BIN)/python benchmarks/store.py

bench-serving: install ## The scoring API against a plain service, MLflow's server and an empty endpoint
	$(BIN)/python benchmarks/serving.py

soak: install ## The scoring API under a steady load for ten minutes (MINUTES=60 for an hour)
	$(BIN)/python benchmarks/soak.py $(if $(MINUTES),--minutes "$(MINUTES)")

clean: ## Remove the lake, the stores and the registry (not .venv)
	rm -rf data/lake data/dagster data/mlflow data/cache data/studies data/serving data/*.db data/*.db-* data/clock.json data/simulation.png
