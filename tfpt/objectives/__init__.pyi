from .keras_model import Model as Model
from .keras_model import model as model
from .objective import Objective as Objective
from .text import classification as classification
from .text import masked_lm as masked_lm
from .text import next_sentence as next_sentence
from .text import sentence_order as sentence_order
from .text import token_classification as token_classification
