"""tfpt: pre-train, fine-tune, export and serve, natively on TensorFlow and Keras 3.

Importing `tfpt` or one of its rooms imports no TensorFlow; the front doors listed in a room's
`__init__.pyi` load what they need when first used. One flag of XLA is set: see xla_flags.py.
"""

from tfpt import xla_flags

__version__ = "0.1.0"

xla_flags.set_flags()
