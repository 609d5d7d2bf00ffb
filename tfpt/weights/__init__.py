"""Weights from and to the formats of others.

`read` opens a checkpoint of Hugging Face, google-research or keras-hub, `write_...` write one.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
