from .answerer import saved_answerer as saved_answerer
from .writer import export_run as export_run
from .writer import saved_model as saved_model
