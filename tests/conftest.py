"""Fixtures of every test: where the real data is, and a cache of prepared images that no test shares with a user."""

import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

# Tests run side by side, one thread each; set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def real_data() -> Path:
    """Return the folder of the real data sets; skip, saying so, where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the real data (../shared/data) is not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def dicom() -> ModuleType:
    """Return what writes DICOM files (dicom_files.py; tests are no package, so it is loaded by its path)."""
    found = spec_from_file_location("dicom_files", Path(__file__).with_name("dicom_files.py"))
    assert found
    assert found.loader
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return module
