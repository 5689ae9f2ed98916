# `make` or `make help` lists what there is. Everything needs only Python >= 3.11 and make.

PYTHON ?= $(shell command -v python3 || command -v python)
# Where torch comes from; empty means the default index. On Linux, PyTorch's CPU index saves
# several GB (see README.md).
TORCH_INDEX ?=
VENV ?= .venv
BIN = $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
JOBS ?= 2

# Two torch threads on a busy machine are slower than one.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export TORCH_INDEX

.DEFAULT_GOAL := help
.PHONY: help setup chapters book test attack lab grade exercises exercises-check lint bench counts clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## make the environment in .venv (the other targets do it by themselves)
	@"$(PYTHON)" tools/setup.py --venv "$(VENV)"

chapters: setup ## execute the chapters whose cells or package changed
	@"$(BIN)/python" tools/execute.py

# A warning belongs to the reading of a page: after a failed build all pages are read again,
# else the second try would pass in silence. Executed cells stay in their cache.
book: chapters ## build the book; warnings are errors
	@"$(BIN)/jupyter-book" build . -q -n -W --keep-going > _build/log.txt 2>&1 \
	  || { cat _build/log.txt; rm -rf _build/.doctrees _build/html/.doctrees; echo "make book: failed, see above"; exit 1; }
	@echo "book: open _build/html/index.html"

# Pages are spread over the processes; elsewhere a file stays together, as notebooks must.
PYTEST = "$(BIN)/python" -m pytest -q -n $(JOBS)

CORPUS = tests/test_grading_corpus.py

test: chapters ## run all tests; those in a browser need `make book` first
	@failed=0; \
	$(PYTEST) --dist loadfile --nbval --ignore=tests/test_browser.py --ignore=$(CORPUS) tests solutions || failed=1; \
	$(PYTEST) --dist worksteal tests/test_browser.py || failed=1; \
	exit $$failed

attack: setup ## grade hundreds of honest, faulty and attacking files, as CI does
	@$(PYTEST) --dist loadfile $(CORPUS)

# Verdicts link to the built book, which the server hands out under /static. LAB takes options.
lab: setup ## open the exercises in JupyterLab
	@[ -d _build/html ] || echo "lab: the links of a verdict lead to the book; make it with: make book"
	@PGCOURSE_BOOK=/static/book "$(BIN)/jupyter-lab" --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/exercises --LabApp.news_url=None \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  "--ServerApp.extra_static_paths=['$(CURDIR)/_build/html']" \
	  $$([ "$$(id -u)" = 0 ] && echo --allow-root) $(LAB)

# OUT is where grades go, GRADE takes options (GRADE="--spec sheet.yml"); a second run goes on.
OUT ?= grades
grade: setup ## grade a folder of notebooks: make grade SUBMISSIONS=dir
	@[ -n "$(SUBMISSIONS)" ] || { echo "make grade: say which folder: make grade SUBMISSIONS=dir"; exit 2; }
	@"$(BIN)/pgcourse" grade "$(SUBMISSIONS)" --out "$(OUT)" $(GRADE)

exercises: setup ## generate exercises/ from solutions/
	@"$(BIN)/python" tools/exercises.py

exercises-check: setup ## fail if exercises/ is not what solutions/ generates
	@"$(BIN)/python" tools/exercises.py --check

lint: setup ## format, lint, types, spelling
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/ruff" check .
	@"$(BIN)/mypy"
	@"$(BIN)/codespell"

bench: setup ## steps a second beside other libraries (needs: pip install '.[bench]')
	@"$(BIN)/python" benchmarks/rollout.py

counts: setup ## count what is checked: equations, answers, mutants
	@"$(BIN)/pgcourse" counts

clean: ## remove the built book and every cache, keep .venv
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf "$(VENV)"
