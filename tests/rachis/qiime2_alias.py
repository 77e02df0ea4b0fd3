"""`import qiime2` gives `rachis`, for tests with the renamed framework alone.

Each `qiime2.x` is the very module `rachis.x`, so that types and formats are the same
objects under both names. A `.pth` file of the environment calls `install`.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings


class Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name == "qiime2" or name.startswith("qiime2."):
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def create_module(self, spec):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what rachis imports is not ours to mend
            return importlib.import_module(spec.name.replace("qiime2", "rachis", 1))

    def exec_module(self, module):
        pass


def install():
    sys.meta_path.insert(0, Alias())
