"""SavedModel -> answers: a local server with TF Serving's interfaces, and its client."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
