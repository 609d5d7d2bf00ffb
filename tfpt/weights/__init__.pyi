from .checkpoint import Checkpoint as Checkpoint
from .reading import read as read
from .writing import write as write
