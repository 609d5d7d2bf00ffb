from .sizes import BERT_BASE as BERT_BASE
from .sizes import BERT_LARGE as BERT_LARGE
from .sizes import BERT_MINI as BERT_MINI
from .sizes import BERT_SMALL as BERT_SMALL
from .sizes import BERT_TINY as BERT_TINY
from .sizes import Model as Model
from .text import encoder as encoder
