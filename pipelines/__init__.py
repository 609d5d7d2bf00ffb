"""Raw data -> (features, labels, weights) batches; every random draw of the project but dropout."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
