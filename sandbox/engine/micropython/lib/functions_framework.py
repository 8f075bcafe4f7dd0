# The decorators of Google's functions framework.
import headgate


def http(f):
    headgate._registered.append(("http", getattr(f, "__name__", "function"), f))
    return f


def cloud_event(f):
    headgate._registered.append(("event", getattr(f, "__name__", "function"), f))
    return f
