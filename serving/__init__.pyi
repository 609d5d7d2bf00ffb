from .client import Client as Client
from .client import RequestError as RequestError
from .server import Server as Server
