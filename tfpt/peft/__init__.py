"""Parameter-efficient fine-tuning: an encoder stays as it is, and a little beside it is trained."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
