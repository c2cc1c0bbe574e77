# Three commands, from a fresh clone with nothing but Python 3.11-3.13, pip and make:
#
#   make demo    a question about a photo and one about a recording, answered through both interfaces
#   make ui      the app in the browser, at http://127.0.0.1:7860; make ui ARGS="--port 8000"
#   make test    the whole test suite; make test ARGS="tests/experts/test_media.py -x" for a part of it
#   make check   ruff, formatting, types
#   make browser the app in a real browser, Debian's chromium; ARGS="--screenshots=FOLDER" keeps pictures of its pages
#
# TORCH_INDEX=URL installs the CPU builds of PyTorch that this index has, 5 GB less, where no GPU is:
#
#   make demo TORCH_INDEX=https://...
#
# Everything goes into .venv, at the versions of constraints.txt, and into $DUET_HOME (~/.cache/duet). pip is called only
# where what it would install has changed, and weights only where one is missing: once both are there, nothing needs a
# network. PYTHON=... picks the interpreter that .venv is made with.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# The stamps of what is installed carry a sum of all that decides it, not a time: a checkout that touches files does not
# call pip, which could not work offline. The folder counts, since an installation does not survive being moved.
SUM := $(shell (pwd; sed '/^\[tool\.ruff\]/,$$d' pyproject.toml; cat constraints.txt .ci/stand-ins/*/pyproject.toml) | cksum | tr -d ' ')
MADE := $(VENV)/made
APP := $(VENV)/app-$(SUM)
DEV := $(VENV)/dev-$(SUM)

# One OpenCV instead of two, and no compiler for GPUs beside a PyTorch without them. Bytecode is written of what is imported,
# when it is first: of all that is installed it would be a sixth more.
export PYTHONDONTWRITEBYTECODE :=
LOCAL := ./.ci/stand-ins/opencv-python$(if $(TORCH_INDEX), ./.ci/stand-ins/triton)
INSTALL := $(PIP) install --no-compile$(if $(TORCH_INDEX), --extra-index-url $(TORCH_INDEX)) -c constraints.txt
NO_GPU := $(and $(filter Linux,$(shell uname -s)),$(if $(TORCH_INDEX)$(wildcard /dev/nvidia[0-9]*),,yes))

# The suite runs on all cores, a thread each, unless a part of it is named
PARALLEL := $(if $(ARGS),,-n auto --dist worksteal)

CHROMIUM := /usr/bin/chromium

# No hub is asked while models run, not even whether a file is still the newest
QUIET := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 YOLO_OFFLINE=true GRADIO_ANALYTICS_ENABLED=False
run = @echo '$$ duet $(1)' && $(QUIET) DUET_OFFLINE=1 $(BIN)/duet $(1)

.PHONY: help demo ui test check browser weights lock clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//; p' Makefile

demo: weights
	$(call run,ask "What is in the picture?" --image examples/photo.jpg --route both)
	$(call run,ask "Which platform does the train leave from?" --audio examples/announcement.wav --route both)

ui: weights
	$(call run,ui $(ARGS))

test: $(DEV) weights
	$(if $(ARGS),,OMP_NUM_THREADS=1) $(QUIET) $(BIN)/python -m pytest $(PARALLEL) $(ARGS)

check: $(DEV)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

# Playwright comes with the rest for tests, and drives the browser that the system has
browser: $(DEV)
	@test -x $(CHROMIUM) || { \
	    echo "installing chromium"; \
	    as=$$(test "$$(id -u)" = 0 || echo "sudo -n"); \
	    get="$$as apt-get -q -y --no-install-recommends install chromium"; \
	    { $$get || { $$as apt-get -q update && $$get; }; } >&2 && test -x $(CHROMIUM); \
	} || { \
	    echo "these tests drive $(CHROMIUM), which is not there and could not be installed; as root: apt-get install chromium" >&2; \
	    exit 1; \
	}
	$(QUIET) $(BIN)/python -m pytest -m browser $(ARGS)

weights: $(APP)
	@$(BIN)/duet weights fetch

# Write down the versions that .venv holds
lock: $(DEV)
	@sed -n '/^#/p' constraints.txt > $(VENV)/lock
	@$(PIP) list --format=freeze --exclude pip --exclude-editable >> $(VENV)/lock
	@cp $(VENV)/lock constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis duet.egg-info

$(MADE):
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	        echo "making $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv $(VENV) && touch $@; \
	        exit; \
	    fi; \
	done; \
	echo "Duet needs Python 3.11, 3.12 or 3.13, and $(or $(PYTHON),python3) is none; name one: make PYTHON=/path/to/python3.11" >&2; \
	exit 1

$(APP): | $(MADE)
	@test -z "$(NO_GPU)" || echo "no NVIDIA GPU here: TORCH_INDEX=URL, an index of CPU builds of PyTorch, installs 5 GB less"
	$(INSTALL) -e . $(LOCAL)
	@$(BIN)/python -c 'import cv2' 2>/dev/null || $(INSTALL) --force-reinstall --no-deps opencv-python-headless
	@rm -f $(VENV)/app-* $(VENV)/dev-*
	@touch $@

$(DEV): | $(APP)
	$(INSTALL) -e '.[dev]'
	@touch $@
