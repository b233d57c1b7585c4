# make train: set-up, training on the embedded digits, evaluation.  make test: set-up, lint, tests.  make venv: set-up.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: venv train test
venv: .venv/installed

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --requirement requirements.txt
	touch $@

train: venv
	$(PY) trainer.py --recipe supervised
	$(PY) trainer.py
	$(PY) evaler.py --checkpoint train_dir

.venv/onnx: .venv/installed requirements-onnx.txt
	$(PY) -m pip install --quiet --requirement requirements-onnx.txt
	touch $@

test: .venv/onnx
	$(PY) -m ruff check .
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist worksteal
