# As much of Flask as functions of a request use.
import headgate
import _http
from _http import HTTPException, Request, Response


def jsonify(*args, **kwargs):
    value = kwargs or (args[0] if len(args) == 1 else list(args))
    return Response(headgate._json(value), mimetype="application/json")


def make_response(*args):
    if len(args) == 1 and isinstance(args[0], tuple):
        args = args[0]
    r = args[0] if args else b""
    if not isinstance(r, Response):
        r = Response(r) if isinstance(r, (str, bytes, bytearray)) else jsonify(r)
    for more in args[1:]:
        if isinstance(more, int):
            r.status_code = more
        else:
            r.headers.update(more)
    return r


def abort(status, description=""):
    raise HTTPException(status, description)


def escape(text):
    import html

    return html.escape(str(text))


class _Current:
    def __getattr__(self, name):
        return getattr(_http.current, name)


request = _Current()
