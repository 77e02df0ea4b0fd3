"""The QIIME 2 plugin of q2-aam; it turns artifacts into inputs of `aam_core`."""

from aam_core import __version__

__all__ = ["__version__"]
