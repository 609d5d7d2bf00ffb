from .writer import saved_model as saved_model
