# Every command of the project; docs/hacking.md explains them on one page.
# Nothing but Python 3.11+ and make is needed beforehand: each target makes what it needs.

PYTHON  ?= python3
ARGS    ?=
PODMAN  ?= podman
HELM    ?= helm
VENV    := .venv
BIN     := $(VENV)/bin
# processes of tests, two more than there are processors: some always wait for a socket or a disk
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 2)
# pip's own output only when something is wrong. A lock pins every package by its hash, dependencies
# included: old pips, left to look for those, ask for the newest release of a package with extras
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
# `make test` runs against the built wheel: PYTHONPATH comes before the checkout's own entry
WHEEL   := .make/wheel
TESTED  := PYTHONPATH=$(CURDIR)/$(WHEEL) WHEEL_UNDER_TEST=$(CURDIR)/$(WHEEL)
# what the functional tests drive; apt-get is asked for what dpkg does not know
PACKAGES := docker.io skopeo podman postgresql busybox-static iproute2 iptables ca-certificates \
            e2fsprogs strace haproxy nginx-light caddy openssl curl libfaketime prometheus systemd \
            python3-venv python3-yaml podman-compose git docker-registry jq patroni etcd-server pgbouncer \
            chromium fonts-dejavu-core
LOCK    := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal \
           --python-version 3.11 --generate-hashes --no-annotate $(LOCK_ARGS)

# one process imports and collects, and forks those that run the tests (tests/forks.py)
FORKED  := $(BIN)/python -m pytest -p tests.forks --forks

# what unit tests write is gone with them: into memory, where there is room, and no disk is synced
MEMORY  := $(shell [ -w /dev/shm ] && df -Pk /dev/shm | awk 'NR == 2 && $$4 > 2000000 {print "/dev/shm"}')
UNIT    := $(if $(MEMORY),TMPDIR=$(MEMORY))
# tests are rewritten, and servers of tests start, from what was compiled before
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install dist image chart serve demo bench check test test-fast functional faults fuzz soak soak-events clients \
        coverage screenshots format lock clean packages

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(VENV)/.runtime  ## make .venv/bin/treescale and start nothing

dist: $(VENV)/.dev  ## build wheel and sdist into dist/, install the wheel elsewhere, start it
	@rm -rf dist
	@$(BIN)/hatchling build --target sdist --directory dist
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist dist/treescale-*.tar.gz
	@cp requirements.lock dist/
	@bash .ci/smoke $(BIN)/python dist

image: dist  ## the container image treescale:VERSION, with podman; PODMAN=docker for docker
	@version=$$($(BIN)/hatchling version); $(PODMAN) build --tag treescale:$$version \
	    $(if $(findstring podman,$(PODMAN)),--format docker) --build-arg VERSION=$$version \
	    --file deploy/Containerfile $(ARGS) dist

chart:  ## lint and render deploy/helm with helm, after a change there; HELM=/path/to/helm
	@bash .ci/chart $(HELM)

serve: $(VENV)/.runtime  ## run a registry from this checkout: make serve ARGS="--listen 0.0.0.0:5000"
	@exec $(BIN)/treescale serve $(ARGS)

demo: $(VENV)/.runtime  ## three servers, an image pushed, one server killed during a pull
	@exec $(BIN)/treescale demo $(ARGS)

bench: PACKAGES := docker-registry wrk openssl haproxy skopeo postgresql iproute2
bench: packages $(VENV)/.dev $(WHEEL)/.built  ## numbers, with the machine and the peer named
	@$(TESTED) $(BIN)/python -m bench $(ARGS)

check: $(VENV)/.dev  ## lint, format, types, import direction, lengths: seconds
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q -p no:cacheprovider tests/test_tidy.py tests/test_house.py

test: export FUZZ_SECONDS ?= 20
test: packages $(VENV)/.dev $(WHEEL)/.built  ## everything, against the built wheel
	$(TESTED) $(UNIT) $(FORKED) $(WORKERS) -m "not functional" $(ARGS)
	$(TESTED) $(FORKED) $(WORKERS) -m "functional and not alone" $(ARGS)
	$(TESTED) $(BIN)/pytest -m alone $(ARGS)

test-fast: export FUZZ_SECONDS ?= 1
test-fast: export SIMULATION_SEEDS ?= 4
test-fast: export PURGE_SEEDS ?= 4
test-fast: $(VENV)/.dev  ## unit and contract tests but the long ones, from the source tree; ROOM=api for one room's
	@$(UNIT) $(FORKED) $(WORKERS) -q --hypothesis-profile fast -o faulthandler_timeout=0 \
	    --ignore tests/functional --ignore tests/crash \
	    -m "not functional and not long" $(if $(ROOM),tests/$(ROOM)) $(ARGS)

functional: packages $(VENV)/.dev $(WHEEL)/.built  ## real clients only: make functional ARGS="-k skopeo"
	@$(TESTED) $(BIN)/pytest -m functional $(ARGS)

faults: export FAULT_REQUESTS ?= 1000
faults: packages $(VENV)/.dev $(WHEEL)/.built  ## each fault of a cluster under 1,000 requests and more, half an hour
	@$(TESTED) $(BIN)/pytest -m functional --timeout 900 -o faulthandler_timeout=0 \
	    tests/functional/cluster $(ARGS)

fuzz: export FUZZ_SECONDS ?= 3600
fuzz: $(VENV)/.dev  ## an hour of fuzzing: FUZZ_SECONDS=600 FUZZ_SEED=7 for another length and seed
	@$(BIN)/pytest -q -o faulthandler_timeout=0 tests/fuzz $(ARGS)

soak: export SOAK_SECONDS ?= 3600
soak: packages $(VENV)/.dev $(WHEEL)/.built  ## an hour on one server and one on three, with leases of seconds
	@$(TESTED) $(BIN)/pytest -q -o faulthandler_timeout=0 tests/soak/test_soak.py $(ARGS)

soak-events: export SOAK_PUSHES ?= 20000
soak-events: packages $(VENV)/.dev $(WHEEL)/.built  ## so many pushes while servers are killed, and what the log has of them
	@$(TESTED) $(BIN)/pytest -q -o faulthandler_timeout=0 tests/soak/test_events.py $(ARGS)

clients: packages $(VENV)/.dev $(WHEEL)/.built  ## crane, oras, helm, buildx, BuildKit, built by Go, as a robot and by sign-on
	@$(TESTED) $(BIN)/pytest -q --timeout 3600 -o faulthandler_timeout=0 tests/clients/by_hand.py $(ARGS)

coverage: $(VENV)/.dev  ## branch coverage of the unit and contract tests
	@$(UNIT) $(BIN)/pytest -q -n $(WORKERS) -m "not functional" --cov --cov-report=term $(ARGS)

screenshots: export SCREENSHOTS ?= docs/images
screenshots: packages $(VENV)/.dev $(WHEEL)/.built  ## the pictures of docs/console.md, by its tests in Chromium
	@$(TESTED) $(BIN)/pytest -q tests/functional/console/test_pages.py -k _sees $(ARGS)

format: $(VENV)/.dev  ## let ruff format and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: $(VENV)/.dev  ## pin anew what pyproject.toml asks for: LOCK_ARGS=--upgrade for the newest
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) --group pyproject.toml:build -c requirements.lock --output-file requirements-build.lock
	$(LOCK) pyproject.toml --group dev -c requirements.lock -c requirements-build.lock \
	    --output-file requirements-dev.lock

clean:  ## remove what was made here, but not ./treescale-data
	rm -rf $(VENV) .make build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
	    .hypothesis .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets stand on -----------------------------------------------------------------

$(BIN)/python:
	@PYTHON="$(PYTHON)" bash .ci/venv $(VENV)

$(VENV)/.runtime: requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@$(PIP) install --no-deps --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(WHEEL)/.built: $(VENV)/.dev $(shell find src deploy -type f -not -name '*.pyc') README.md LICENSE requirements.lock
	@rm -rf $(WHEEL) .make/dist
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir .make/dist .
	@cp requirements.lock .make/dist/
	@$(PIP) install --no-deps --target $(WHEEL) .make/dist/*.whl
	@touch $@

packages:
	@missing=""; for p in $(PACKAGES); do \
	    dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; [ -z "$$missing" ] || bash .ci/packages $$missing
