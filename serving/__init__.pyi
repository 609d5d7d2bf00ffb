from .answering import Limits as Limits
from .client import Client as Client
from .errors import RequestError as RequestError
from .server import Server as Server
