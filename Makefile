# `make` lists the targets. Everything lives in .venv; set PYTHON to choose the interpreter, and
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu to install torch without CUDA.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL := -m pip install --quiet --disable-pip-version-check
UNFINISHED := $(VENV)/.unfinished
DEMO := outputs/demo

# Small models gain nothing from more threads, and two torch processes that each spin on every
# core slow each other down many times.
CORES := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
export OMP_NUM_THREADS ?= $(shell test $(CORES) -gt 4 && echo 4 || echo $(CORES))
# What is imported is compiled once and kept in .venv, even in a container that asks Python not to:
# there every command would compile torch and diffusers again, for 14 seconds.
unexport PYTHONDONTWRITEBYTECODE
# Nothing here needs a model hub: flux-mini is in the package.
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1

# One process of tests for each core, none of which takes more than its own. Tests that share what
# was trained run in the same one.
TESTS := $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

# Sweeps on what is installed of Slurm, Ray and joblib; the others are skipped. One process: they
# share one Slurm.
CLUSTER := $(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m cluster tests/cluster

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo studio docs test test-heavy test-faults test-cluster test-browser check dist format data clean FORCE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv and install pairedit in it, unless nothing changed

# An older pip takes twice as long to find out what goes together.
# Nothing is compiled ahead: that is half of an installation, and most of it is never imported.
# Scripts in .venv carry its absolute path, so a clone that moved is set up again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif
$(STAMP): pyproject.toml constraints.txt
	@set -e; found=; \
	if [ -e $(UNFINISHED) ] || { [ -s $(STAMP) ] && [ "$$(cat $(STAMP))" != "$(CURDIR)" ]; } \
	    || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.10 python3.14 python; do \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' \
	        >/dev/null 2>&1; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "No Python >= 3.10 with venv here: install one (Debian: python3-venv) or set PYTHON" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$found --version)"; \
	  rm -rf $(VENV); \
	  $$found -m venv $(VENV); \
	fi; \
	echo 'Installing into $(VENV), a minute or two'; touch $(UNFINISHED); \
	if $(BIN)/python $(INSTALL) --no-compile 'pip>=26' \
	    && $(BIN)/python $(INSTALL) --no-compile -c constraints.txt -e '.[dev]'; then \
	  rm -f $(UNFINISHED); \
	  printf '%s\n' "$(CURDIR)" > $@; \
	else \
	  rc=$$?; rm -f $(UNFINISHED); exit $$rc; \
	fi

# Two edits side by side, each on half of the cores. A second bar stands below the first one.
DEMOS := $(DEMO)/age/sheet.png $(DEMO)/smile/sheet.png
$(DEMOS): export OMP_NUM_THREADS := $(shell test $(CORES) -gt 4 && echo 4 || echo $$((($(CORES) + 1) / 2)))
$(DEMO)/smile/sheet.png: export TQDM_POSITION := 1

demo: $(STAMP) ## train an age and a smile slider on flux-mini and render sheets
	rm -rf $(DEMO)
	@$(MAKE) --no-print-directory -j $(CORES) $(DEMOS)
	@printf '\nLook at the sheets. They show the pairs, then new people at rising strength:\n  %s\n  %s\n' \
	  $(addprefix "$(CURDIR)"/,$(DEMOS))
	@printf 'Open the reports in a browser. They say how well each slider works:\n  %s\n  %s\n' \
	  "$(CURDIR)/$(DEMO)/train-age/age/report.html" "$(CURDIR)/$(DEMO)/train-smile/smile/report.html"
	@printf 'Then drag the sliders yourself:\n  make studio\n'

$(DEMOS): $(DEMO)/%/sheet.png:
	$(OFFLINE) $(BIN)/pairedit-train dataset=$* preview=false hydra.run.dir=$(DEMO)/train-$*
	$(OFFLINE) $(BIN)/pairedit-gen lora=$(DEMO)/train-$*/$*/semantic.safetensors \
	  hydra.run.dir=$(DEMO)/$*
	@test -s $@

# Gradio 6.31 takes no Pillow 13, so it has an environment of its own, which borrows all else.
STUDIO := $(VENV)/studio
SITE = import sysconfig; print(sysconfig.get_path("purelib"))
$(STUDIO)/.installed: $(STAMP)
	@echo 'Installing the studio into $(STUDIO), a minute or two'
	$(BIN)/python -m venv $(STUDIO)
	@echo "import site; site.addsitedir('$$($(BIN)/python -c '$(SITE)')')" \
	  > "$$($(STUDIO)/bin/python -c '$(SITE)')/borrowed.pth"
	@grep -v '^pillow' constraints.txt > $(STUDIO)/constraints.txt
	$(STUDIO)/bin/python $(INSTALL) --no-compile \
	  -c $(STUDIO)/constraints.txt -e '.[studio]'
	@# What a studio imports is compiled now, not while somebody waits for the page.
	@$(OFFLINE) $(STUDIO)/bin/python -c \
	  'import gradio, pairedit.studio.page, pairedit.jobs.row, pairedit.bases.flux1.load'
	@touch $@

# Ctrl-C is the usual end of it, and no error. The trap keeps the shell until the studio has saved.
studio: $(STUDIO)/.installed ## open the page in the browser: train, drag the slider, edit a photo
	@trap : INT; $(OFFLINE) $(STUDIO)/bin/pairedit-studio \
	  || { code=$$?; test $$code -eq 130 || exit $$code; }

docs: $(STAMP) ## build the pages as a site in build/site; every link is checked
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --strict
	@printf 'The site is here:\n  %s\n' "$(CURDIR)/build/site/index.html"
	@printf 'To search it, run this and open the address that it prints:\n  %s\n' \
	  '$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/site'

test: $(STAMP) ## run the tests, heavy ones apart: about 6 minutes on two cores
	$(TESTS)

test-heavy: $(STAMP) ## run the heavy tests: longer trainings, every script and benchmark
	$(TESTS) -m heavy

test-faults: $(STAMP) ## kill, starve and feed it rubbish for long; write docs/reliability.md
	$(OFFLINE) PYTHONPATH=tests/faults $(BIN)/python -m pytest -p figures tests/faults

test-cluster: $(STAMP) ## run sweeps on a real Slurm (as root) and a real Ray, which it installs
	$(BIN)/python $(INSTALL) -c constraints.txt \
	  -e '.[joblib,ray,slurm,tune,tensorboard]'
	bash tests/cluster/install.sh
	$(CLUSTER)
	$(OFFLINE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "" tests/sweeps tests/runs/test_groups.py

test-browser: $(STUDIO)/.installed ## drive the page in a real browser; installs chromium if it can
	$(STUDIO)/bin/python $(INSTALL) \
	  -c $(STUDIO)/constraints.txt playwright
	@command -v chromium chromium-browser >/dev/null || test -n "$(CHROMIUM)" \
	  || { apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	  || { echo "No chromium here: install one, or set CHROMIUM to its path" >&2; exit 1; }
	$(OFFLINE) OMP_NUM_THREADS=1 $(STUDIO)/bin/python -m pytest -m browser tests/studio

check: $(STAMP) ## what CI runs: format, lint, all tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(TESTS)
	$(TESTS) -m heavy
	$(CLUSTER)

dist: $(STAMP) ## build the wheel and the sdist into dist/, and check them as a package index does
	rm -rf dist
	$(BIN)/python $(INSTALL) -c constraints.txt twine
	$(BIN)/python -m hatchling build
	$(BIN)/python -m twine check --strict dist/*
	@ls -l dist

format: $(STAMP) ## format the code and fix what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

data: $(STAMP) ## render data/ again, byte for byte
	$(BIN)/python scripts/render_data.py

clean: ## remove .venv, caches, builds and the demo; other outputs stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache $(DEMO)
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
