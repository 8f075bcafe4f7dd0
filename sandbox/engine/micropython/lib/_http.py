# The HTTP form that Google Cloud Functions made known: a function of a
# request, as Flask has it.
import json
import headgate


class HTTPException(Exception):
    def __init__(self, status, text=""):
        super().__init__("%d %s" % (status, text))
        self.code = status
        self.description = text


class Headers:
    """A mapping whose keys may be written in upper or lower case."""

    def __init__(self, values):
        self._values = values

    def get(self, key, default=None, type=None):
        return _typed(self._values.get(key.lower()), default, type)

    def __getitem__(self, key):
        return self._values[key.lower()]

    def __contains__(self, key):
        return key.lower() in self._values

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def keys(self):
        return self._values.keys()

    def items(self):
        return self._values.items()


class Args:
    """Parameters of a query or a form: the first value of each, or all."""

    def __init__(self, text):
        self._values = {}
        for pair in text.split("&"):
            if pair:
                k, _, v = pair.partition("=")
                self._values.setdefault(_unquote(k), []).append(_unquote(v))

    def get(self, key, default=None, type=None):
        v = self._values.get(key)
        return _typed(v[0] if v else None, default, type)

    def getlist(self, key):
        return self._values.get(key, [])

    def to_dict(self):
        return {k: v[0] for k, v in self._values.items()}

    def __getitem__(self, key):
        if key not in self._values:
            raise HTTPException(400, "the parameter %s is missing" % key)
        return self._values[key][0]

    def __contains__(self, key):
        return key in self._values

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def keys(self):
        return self._values.keys()

    def items(self):
        return self.to_dict().items()


def _typed(v, default, type):
    if v is None:
        return default
    if type is None:
        return v
    try:
        return type(v)
    except (ValueError, TypeError):
        return default


def _unquote(text):
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    parts = text.split("%")
    raw = bytearray(parts[0].encode())
    for p in parts[1:]:
        try:
            raw.append(int(p[:2], 16))
            raw.extend(p[2:].encode())
        except ValueError:
            raw.extend(("%" + p).encode())
    return bytes(raw).decode()


class Request:
    def __init__(self, event):
        self._event = event
        self.method = event.meta("httpmethod") or "POST"
        self.path = event.subject or "/"
        self.query_string = (event.meta("httpquery") or "").encode()
        self.remote_addr = event.meta("httpremote")
        self._headers = self._args = self._form = None

    @property
    def headers(self):
        if self._headers is None:
            values = json.loads(self._event.meta("httpheaders") or "{}")
            if self._event.datacontenttype:
                values.setdefault("content-type", self._event.datacontenttype)
            self._headers = Headers(values)
        return self._headers

    @property
    def args(self):
        if self._args is None:
            self._args = Args(self.query_string.decode())
        return self._args

    @property
    def form(self):
        if self._form is None:
            form = (self.content_type or "").startswith("application/x-www-form-urlencoded")
            self._form = Args(self._event.text() if form else "")
        return self._form

    @property
    def data(self):
        return self._event.bytes()

    def get_data(self, as_text=False):
        return self._event.text() if as_text else self._event.bytes()

    @property
    def content_type(self):
        return self.headers.get("content-type")

    @property
    def mimetype(self):
        return (self.content_type or "").split(";")[0].strip().lower()

    @property
    def is_json(self):
        m = self.mimetype
        # What is not a request, such as a message, says no type.
        return m == "application/json" or m.endswith("+json") or not m and not self._event.meta("httpmethod")

    @property
    def host(self):
        return self.headers.get("host", "")

    @property
    def url(self):
        query = self.query_string.decode()
        return "http://" + self.host + self.path + ("?" + query if query else "")

    @property
    def params(self):
        return self._event.params

    view_args = params

    @property
    def json(self):
        return self.get_json()

    def get_json(self, force=False, silent=False, cache=True):
        if not force and not self.is_json:
            if silent:
                return None
            raise HTTPException(415, "the content type is not application/json")
        try:
            return json.loads(self._event.bytes())
        except ValueError:
            if silent:
                return None
            raise HTTPException(400, "the body is not JSON")


class Response:
    def __init__(self, response=b"", status=200, headers=None, mimetype=None, content_type=None):
        self.data = response
        self.status_code = int(str(status).split()[0])
        self.headers = dict(headers or {})
        if content_type or mimetype:
            self.headers["Content-Type"] = content_type or mimetype

    def set_data(self, data):
        self.data = data

    def _reply(self):
        headgate._reply(self.data, self.status_code, self.headers)


current = None


def adapter(f):
    def call(event):
        global current
        current = Request(event)
        try:
            r = f(current)
            return headgate._finish(r) if hasattr(r, "send") and hasattr(r, "throw") else r
        except HTTPException as e:
            return (e.description or str(e)) + "\n", e.code

    return call
