# There are no variables of an environment and no writable files: environ
# holds the function's config.
from uos import *
import json
import headgate
from . import path

environ = {k: v if isinstance(v, str) else json.dumps(v) for k, v in headgate.context.config.items()}
name = "posix"


def getenv(key, default=None):
    return environ.get(key, default)


def urandom(n):
    return headgate._random(n)
