# `make run`: from nothing to the first report. `make test`: everything checked that is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help run test test-long types test-slow test-emulator test-real test-container lock k8s reference docs image release wheel gpu-wheels gpu-check gpu-programs

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "lanewise needs Python 3.11 or newer; make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@echo "pip installs the packages of requirements-dev.lock into $(VENV): 1.7 GB"
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

run: $(READY) ## Carry out manifests/level0.yaml from simulation to report
	$(BIN)/lanewise run manifests/level0.yaml
	$(BIN)/lanewise aggregate manifests/level0.yaml
	@echo "The report is in results/batched/report.html"
	@echo "next: $(BIN)/lanewise init shear -o my.yaml"

test: $(READY) ## The linter, the import contracts and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-long: $(READY) ## The tests of some seconds each, which CI runs beside the quick ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'long and not slow'

types: $(READY) ## The type checker, over src and tests
	$(BIN)/mypy

test-slow: $(READY) ## The statistical and long tests
	$(BIN)/python -m pytest -m slow

test-emulator: $(READY) ## Storage of Google and Azure, by their emulators where they are installed (docs/storage.md)
	$(BIN)/python -m pytest -m emulator -rs

test-real: $(READY) ## On real parts: the rendered Job by its rules on S3, with processes and containers, and a one-node Slurm (docs/schedulers.md)
	$(BIN)/python -m pytest -m real -rs

test-container: $(READY) ## Build the image and run a campaign in it (podman or docker)
	$(BIN)/python -m pytest -m container

VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' src/lanewise/__init__.py)

image: ## Build the image with podman; EXTRA=cuda12 or cuda13 for GPUs
	podman build --build-arg EXTRA=$(EXTRA) --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
		--build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) --tag lanewise .

release: $(READY) ## Wheel, source archive and bill of materials of this version in dist/ (CONTRIBUTING.md)
	@grep -q '^## $(VERSION) – [0-9-]*$$' CHANGELOG.md || { echo 'CHANGELOG.md: expected a heading "## $(VERSION) – DATE"; date the changes'; exit 1; }
	@grep -qx 'version: $(VERSION)' CITATION.cff || { echo 'CITATION.cff: expected version: $(VERSION)'; exit 1; }
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -d dist
	$(PYTHON) .ci/sbom.py $(VERSION) dist/lanewise-$(VERSION).cdx.json
	@ls dist/lanewise-$(VERSION)*

wheel: ## Build the wheel into dist/; a Python with pip and a network is enough
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/lanewise-*.whl

k8s: $(READY) ## Render the example Jobs and the kustomize overlays again
	$(BIN)/python k8s/render.py

reference: $(READY) ## Write docs/reference.md from the schemas again
	$(BIN)/python docs/reference.py

# The site has an environment of its own. KaTeX comes from npm; node_modules must not stand in docs/.
DOCS := build/docs
DOCS_BIN := build/docs-venv/bin
DOCS_READY := build/docs-venv/.ready

$(DOCS_READY): requirements-docs.lock pyproject.toml docs/site/package-lock.json
	$(PYTHON) -m venv build/docs-venv
	$(DOCS_BIN)/python -m pip install --disable-pip-version-check --no-compile --require-hashes -r requirements-docs.lock
	$(DOCS_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	mkdir -p build/npm $(DOCS)/assets/katex
	cp docs/site/package.json docs/site/package-lock.json build/npm
	npm ci --silent --ignore-scripts --no-audit --no-fund --prefix build/npm
	cd build/npm/node_modules/katex/dist && cp -r katex.min.js katex.min.css fonts $(CURDIR)/$(DOCS)/assets/katex
	touch $@

docs: $(DOCS_READY) ## Build the site into build/site; needs npm. Carries out the campaigns of its gallery; QUICK=--quick for small ones
	$(DOCS_BIN)/python docs/reference.py
	$(DOCS_BIN)/python docs/site/help.py
	$(DOCS_BIN)/python docs/site/gallery.py $(QUICK)
	NO_MKDOCS_2_WARNING=1 $(DOCS_BIN)/mkdocs build

LOCK = printf 'hatchling\neditables\n' | uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' \
	pyproject.toml - --extra s3 --extra gcs --extra azure

lock: ## Pin every dependency again (needs uv)
	$(LOCK) --extra dev -o requirements-dev.lock
	$(LOCK) -c requirements-dev.lock --extra docs -o requirements-docs.lock
	$(LOCK) -c requirements-dev.lock -o requirements.lock
	$(LOCK) -c requirements.lock --extra cuda12 -o requirements-cuda12.lock
	$(LOCK) -c requirements.lock --extra cuda13 -o requirements-cuda13.lock

# The Python of the machine with the GPU.
GPU_PYTHON ?= 3.12
# What gpu.py imports beside JAX and what comes with it.
GPU_NEEDS := annotated-doc|attrs|fsspec|h5netcdf|h5py|jsonschema|jsonschema-specifications|multipledispatch|numpyro
GPU_NEEDS := $(GPU_NEEDS)|packaging|platformdirs|pyyaml|referencing|rpds-py|shellingham|tqdm|typer|typing-extensions
WHEELS := results/gpu/wheels
SITE := results/gpu/site

gpu-wheels: ## Fetch what gpu-check needs and a machine with JAX alone lacks, into results/gpu/wheels; GPU_PYTHON=3.12
	rm -rf $(WHEELS)
	$(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
		--python-version $(GPU_PYTHON) \
		$(foreach year,17 24 27 28 31 34,--platform manylinux_2_$(year)_x86_64) --platform manylinux2014_x86_64 \
		--dest $(WHEELS) $$(grep -oE '^($(GPU_NEEDS))==[^ ]+' requirements.lock)
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $(WHEELS) .
	du -sh $(WHEELS)

gpu-programs: $(READY) ## Launches per step and memory of the programs compiled for a GPU, on a machine without one
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target build/gpu-compiler \
		jax-cuda12-pjrt==$$($(BIN)/python -c 'import jaxlib; print(jaxlib.__version__)') nvidia-cuda-nvcc-cu12
	$(BIN)/python benchmarks/gpu_programs.py --packages build/gpu-compiler

gpu-check: ## What this GPU does with the shipped scenes (docs/performance.md); QUICK=--quick for a reduced form
	if [ -d $(WHEELS) ]; then $(PYTHON) -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target $(SITE) $(WHEELS)/*.whl; fi
	PYTHONPATH=src:$(SITE) $(PYTHON) benchmarks/gpu.py $(QUICK)
