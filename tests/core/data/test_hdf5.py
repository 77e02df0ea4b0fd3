import h5py
import numpy as np
import pytest

from aam_core.data import hdf5
from aam_core.data.hdf5 import check_hdf5
from aam_core.errors import InputError


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["order"], file["matrix"] = ["a", "b"], np.zeros((2, 2))
        file["group/empty"] = h5py.Empty("f8")
    return tmp_path / "m.h5"


def test_what_can_be_read_is_no_matter(path):
    check_hdf5(path)
    check_hdf5(path.with_name("nothing.h5"))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os\nos.kill(os.getpid(), 11)", "crashes"),
        ("while True: pass", "does not come back"),
    ],
)
def test_a_library_that_crashes_or_hangs_is_an_error(path, monkeypatch, code, message):
    limits = hdf5._READ[: hdf5._READ.index("def read")]
    monkeypatch.setattr(hdf5, "_READ", f"{limits}\n{code}")
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    with pytest.raises(InputError, match=f"is damaged: the HDF5 library {message}"):
        check_hdf5(path)


def test_attributes_are_read_whatever_cannot_be_read_before(path, monkeypatch):
    with h5py.File(path, "a") as file:
        file["order"].attrs["unit"] = "none"
    broken = """
import os, h5py
def unread(*_):
    raise OSError("inflate() failed")
h5py.Dataset.__getitem__ = unread
h5py.AttributeManager.__getitem__ = lambda *_: os.kill(os.getpid(), 11)
"""
    monkeypatch.setattr(hdf5, "_READ", broken + hdf5._READ)
    with pytest.raises(InputError, match="crashes"):
        check_hdf5(path)


def test_texts_are_read_by_name_whatever_the_list_of_a_file_lacks(path, monkeypatch):
    broken = """
import os, h5py
def unlisted(*_):
    raise RuntimeError("Object visitation failed")
h5py.Group.visititems = unlisted
h5py.Dataset.__array__ = lambda *_, **__: os.kill(os.getpid(), 11)
"""
    monkeypatch.setattr(hdf5, "_READ", broken + hdf5._READ)
    with pytest.raises(InputError, match="crashes"):
        check_hdf5(path)
