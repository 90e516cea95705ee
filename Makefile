# One virtual environment, .venv, for everything; stamp files in it remember what is installed.
PYTHON ?= python3
# Plain assignments: `make serve PORT=8123` changes them, a HOST that happens to be in the environment does not.
HOST = 127.0.0.1
PORT = 8000
# Which build of ONNX Runtime: gpu where an NVIDIA driver answers, else cpu. They exclude each other.
RUNTIME = $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
DEMO = runs/demo
# Processes that share the tests; 0 is one process, as a debugger wants it. With more, each file of tests stays in one.
WORKERS = 2
PYTEST = .venv/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

BIN := .venv/bin
SERVE_STAMP = .venv/.installed-$(RUNTIME)
TOOLS_STAMP = .venv/.installed-$(RUNTIME)-tools
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# On a CPU the very packages of the container image; what a GPU needs differs too much between machines to be pinned.
PACKAGES_cpu = --no-deps --requirement requirements.lock
PACKAGES_gpu = --editable ".[gpu]"
export ORT_DISABLE_TELEMETRY = 1
# Packages are installed without bytecode; where it may not be written, every process of the tests compiles PyTorch anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help serve test coverage minimal lint licences train-demo study bench bench-gpu bench-serve bench-memory stress \
	chaos fuzz lock image image-gpu sbom check-arm docs

help:  ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

# The image serves no /internals unless it is told to; on the machine of whoever looks at this there is no reason not to.
serve: $(SERVE_STAMP)  ## serve the shipped model; HOST=127.0.0.1 PORT=8000
	@echo "ONNX Runtime: $(RUNTIME) build; listening on http://$(HOST):$(PORT)"
	@ATTEND_INTERNALS=$${ATTEND_INTERNALS:-true} ATTEND_HOST=$(HOST) ATTEND_PORT=$(PORT) exec $(BIN)/python -m service

test: $(TOOLS_STAMP)  ## run the tests; ARGS="tests/model -x" goes to pytest, WORKERS=0 takes one process
	@echo "ONNX Runtime: $(RUNTIME) build"
	@$(PYTEST) $(ARGS)

coverage: $(TOOLS_STAMP)  ## which lines and branches of service/ the tests reach
	@$(PYTEST) --cov --cov-report term:skip-covered $(ARGS)

# Those that need nothing of training, and meet every package that serving needs.
MINIMAL_TESTS = tests/text tests/engine/test_core.py $(addprefix tests/service/test_,connection.py contracts.py detection.py \
	fields.py languages.py metrics.py server.py settings.py stream.py translate.py)

# Direct needs at the oldest version that pyproject.toml allows, in an environment of their own; theirs are the newest.
minimal: $(TOOLS_STAMP)  ## the tests of the service with the oldest versions it allows, two minutes
	@rm -rf runs/minimal && mkdir -p runs && $(PYTHON) -m venv runs/minimal
	@$(BIN)/uv pip compile --quiet --resolution lowest-direct --extra cpu --no-header --no-annotate --no-emit-index-url \
		--python-version 3.11 pyproject.toml --output-file runs/minimal/requirements.txt
	@$(BIN)/uv pip install --quiet --python runs/minimal/bin/python --requirement runs/minimal/requirements.txt \
		pytest hypothesis httpx filelock redis babel
	@runs/minimal/bin/python -m pytest -p no:cacheprovider $(or $(ARGS),$(MINIMAL_TESTS))

lint: $(TOOLS_STAMP)  ## style, types, who may import whom, spelling, and what bandit finds
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive service model export attend

# Of the packages of requirements.lock: those that let a program under another licence be made of them.
LICENCES = Apache;BSD;MIT;PSF-2.0;Zlib;CC0
SERVED_PACKAGES = $(shell sed -n 's/^\([A-Za-z0-9_.-]*\)==.*/\1/p' requirements.lock)

licences: $(TOOLS_STAMP)  ## the licences of what serving installs; fails if one may not be used so
	@$(BIN)/pip-licenses --from=mixed --order=license --no-version --partial-match --allow-only="$(LICENCES)" \
		--packages $(SERVED_PACKAGES)

train-demo: $(TOOLS_STAMP)  ## train two minutes on the sample data, then translate
	@rm -rf $(DEMO)
	@$(BIN)/python -m model vocabulary model/recipes/demo.toml --out $(DEMO)/vocabulary.spm
	@$(BIN)/python -m model train model/recipes/demo.toml --vocabulary $(DEMO)/vocabulary.spm --out $(DEMO) --device cpu
	@echo "A few sentences of the held-out set, as the demo model translates them:"
	@gzip -dc model/recipes/demo-data/tatoeba-dev.fr.gz | head -n 6 > $(DEMO)/sample.fr
	@$(BIN)/python -m model translate $(DEMO)/checkpoint --direction fr-en < $(DEMO)/sample.fr | paste $(DEMO)/sample.fr - \
		| awk -F '\t' '{ print "  " $$1 "  ->  " $$2 }'
	@echo "The curve: $(DEMO)/curves.png; the log: $(DEMO)/log.jsonl; the checkpoint: $(DEMO)/checkpoint"

study: $(TOOLS_STAMP)  ## train 20 small networks of other architectures, hours, and write docs/study.md; it may be stopped
	@nice -n 19 $(BIN)/python -m benchmarks.study $(ARGS)

# Needs nothing outside the repository: the sample text serves as input.
bench: $(TOOLS_STAMP)  ## our decoder against CTranslate2, PyTorch and plain ONNX Runtime; ARGS=--quick is shorter
	@$(BIN)/python -m benchmarks.decode --checkpoint model/pretrained --source benchmarks/everyday.fr.gz \
		--direction fr-en $(ARGS)

bench-gpu: $(TOOLS_STAMP)  ## every check and benchmark of a GPU, ten minutes; ARGS="--device cpu --quick" tries it on a CPU
	@$(BIN)/python -m benchmarks.gpu --out runs/gpu $(ARGS)

# LibreTranslate takes part if ARGS says where it is installed: see benchmarks/README.md.
bench-serve: $(TOOLS_STAMP)  ## the service against other servers, latency and load; ARGS=--quick is shorter
	@$(BIN)/python -m benchmarks.serve $(ARGS)

bench-memory: $(TOOLS_STAMP)  ## 100,000 requests of all kinds: does the memory stay flat?
	@$(BIN)/python -m benchmarks.memory $(ARGS)

stress: $(TOOLS_STAMP)  ## the service under ten times its load and with clients that misbehave; ARGS=--quick is shorter
	@$(BIN)/python -m benchmarks.stress $(ARGS)

chaos: $(TOOLS_STAMP)  ## engines that die, hang or get no memory under load, three minutes; ARGS="--seconds 20" is shorter
	@$(BIN)/python -m benchmarks.chaos $(ARGS)

fuzz: $(TOOLS_STAMP)  ## 20,000 requests, fitting and damaged, and files with each bit flipped; FUZZ_CASES=1000 is shorter
	@FUZZ_CASES=$(or $(FUZZ_CASES),20000) $(BIN)/python -m pytest tests/fuzz tests/service/test_connection.py -q -s

lock:  ## renew requirements.lock and requirements-gpu.lock, what the container images install
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && $(PYTHON) -m venv $$scratch \
		&& $$scratch/bin/python -m pip install --quiet --disable-pip-version-check uv \
		&& for lock in cpu:requirements.lock gpu:requirements-gpu.lock; do \
			$$scratch/bin/uv pip compile pyproject.toml --extra $${lock%:*} --universal --python-version 3.11 \
				--generate-hashes --no-header --quiet --output-file $${lock#*:} || exit; done
	@! grep -nE '://|--index-url|--find-links' requirements.lock requirements-gpu.lock

docs: $(TOOLS_STAMP)  ## write the documentation as a site to runs/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict && echo "runs/site/index.html"

IMAGE = attend:$(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' service/__init__.py)
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)

image:  ## build the container image for CPUs
	docker build --tag $(IMAGE) --build-arg REVISION=$(REVISION) .

image-gpu:  ## the same for NVIDIA GPUs
	docker build --tag $(IMAGE)-gpu --target gpu --build-arg REVISION=$(REVISION) .

sbom:  ## write what the images install as CycloneDX: runs/sbom-cpu.json and runs/sbom-gpu.json
	@mkdir -p runs && scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && $(PYTHON) -m venv $$scratch \
		&& $$scratch/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom \
		&& for lock in cpu:requirements.lock gpu:requirements-gpu.lock; do \
			$$scratch/bin/python -W ignore -m cyclonedx_py requirements $${lock#*:} --pyproject pyproject.toml \
				--output-reproducible --output-file runs/sbom-$${lock%:*}.json || exit; \
			echo "runs/sbom-$${lock%:*}.json: $$(grep -c '"purl"' runs/sbom-$${lock%:*}.json) packages"; done

check-arm:  ## is there a wheel for arm64 of every package that the CPU image installs? Downloads none
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && $(PYTHON) -m venv $$scratch \
		&& $$scratch/bin/python -m pip install --quiet --disable-pip-version-check uv \
		&& $$scratch/bin/uv pip install --dry-run --quiet --no-deps --only-binary :all: --require-hashes \
			--python-version 3.11 --python-platform aarch64-manylinux_2_28 --target $$scratch/arm \
			--requirement requirements.lock && echo "every package of requirements.lock has a wheel for arm64"

$(BIN)/python:
	@$(PYTHON) -m venv .venv

# The other build of ONNX Runtime owns the same folder: take it out first.
$(SERVE_STAMP): pyproject.toml requirements.lock | $(BIN)/python
	@echo "installing the $(RUNTIME) build of ONNX Runtime and what serving needs"
	@for stamp in .venv/.installed-*; do case $$stamp in \
		$(SERVE_STAMP)|$(TOOLS_STAMP)|".venv/.installed-*") ;; \
		*) $(BIN)/python -m pip uninstall --quiet --yes onnxruntime onnxruntime-gpu; rm -f $$stamp ;; esac; done
	@$(PIP_INSTALL) $(PACKAGES_$(RUNTIME))
	@touch $@

$(TOOLS_STAMP): pyproject.toml | $(SERVE_STAMP)
	@echo "installing what training and testing need"
	@$(PIP_INSTALL) --editable ".[$(RUNTIME),train,dev]"
	@touch $@
