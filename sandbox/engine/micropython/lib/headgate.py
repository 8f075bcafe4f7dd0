# What a handler gets: its event, and a context to ask the gateway by. It runs
# once, before the clean state is taken. The calls of _host are the gateway's;
# a string counts as two of their parameters, its address and length.
import gc
import sys
import json
import uctypes
import _host

_call_reason = _host.reason
_call_random = _host.random
_call_is_json = _host.is_json
_call_meta = _host.meta
_call_input_read = _host.input_read
_call_kv_get = _host.kv_get
_call_kv_set = _host.kv_set
_call_kv_del = _host.kv_del
_call_kv_list = _host.kv_list
_call_log = _host.log
_call_publish = _host.publish
_call_enqueue = _host.enqueue
_call_invoke = _host.invoke
_call_metric = _host.metric
_call_secret = _host.secret
_call_now_ms = _host.now_ms
_call_sensor_read = _host.sensor_read
_call_actuate = _host.actuate
_call_output = _host.output
_call_output_meta = _host.output_meta
_call_config_json = _host.config_json
_addressof = uctypes.addressof
_bytes_at = uctypes.bytes_at
_ROOM = 4096
_buffer = bytearray(_ROOM)
_at = _addressof(_buffer)
_codes = {-1: "NOT_FOUND", -2: "DENIED", -3: "LIMIT", -4: "INVALID", -5: "UNSUPPORTED", -6: "UNAVAILABLE"}


class HeadgateError(Exception):
    """The gateway refused a call; code says why: DENIED, LIMIT, INVALID, UNSUPPORTED, UNAVAILABLE."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class LoadError(Exception):
    pass


def _refused(errno):
    n = _call_reason(_at, _ROOM)
    raise HeadgateError(_bytes_at(_at, n).decode() if n > 0 else _codes.get(errno, ""), _codes.get(errno, str(errno)))


def _read(call, *args):
    n = call(*args, _at, _ROOM)
    if n <= _ROOM:
        if n < -1:
            _refused(n)
        return None if n < 0 else _bytes_at(_at, n)
    room = bytearray(n)
    call(*args, _addressof(room), n)
    return bytes(room)


def _send(call, name, payload, *rest):
    if isinstance(payload, str):
        n = call(name, payload, *rest)
    else:
        n = call(name, _addressof(payload), len(payload), *rest)
    if n < 0:
        _refused(n)


def _random(n):
    b = bytearray(n)
    _call_random(_addressof(b), n)
    return bytes(b)


def _name(v, what):
    if not isinstance(v, str):
        raise TypeError(what + " is not a str")
    return v


def _json(v):
    text = json.dumps(v, separators=(",", ":"))
    if not _call_is_json(text):
        raise TypeError("cannot be written as JSON: " + repr(v)[:80])
    return text


def _encode(v):
    if isinstance(v, (str, bytes, bytearray)):
        return v
    if v is None:
        return b""
    return bytes(v) if isinstance(v, memoryview) else _json(v)


def _decode(raw):
    try:
        return json.loads(raw)
    except ValueError:
        return raw


_units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(v, what):
    if v is None:
        return 0
    total = v
    if isinstance(v, str):
        total, number, unit = 0, "", ""
        for c in v + "0":
            if c in "0123456789.":
                if unit:
                    if unit not in _units or not number:
                        break
                    total += float(number) * _units[unit]
                    number = unit = ""
                number += c
            else:
                unit += c
        if unit or number != "0" or v == "":
            total = -1
    if isinstance(total, bool) or not isinstance(total, (int, float)) or not 0 <= total <= 4294967295:
        raise TypeError("%s: %r is not a duration: give seconds or '20m'" % (what, v))
    whole = int(total)
    return whole if whole == total else whole + 1


def _meta(key):
    raw = _read(_call_meta, key)
    return None if raw is None else raw.decode()


class Event:
    """What happened."""

    def __init__(self):
        self._raw = self._params = None
        self._decoded = False

    id = property(lambda self: _meta("id"))
    source = property(lambda self: _meta("source"))
    type = property(lambda self: _meta("type"))
    subject = property(lambda self: _meta("subject"))
    time = property(lambda self: _meta("time"))
    datacontenttype = property(lambda self: _meta("datacontenttype"))
    attempt = property(lambda self: int(_meta("attempt") or 1))

    def meta(self, key):
        return _meta(_name(key, "event.meta: the key"))

    def __getitem__(self, key):
        v = _meta(_name(key, "the attribute"))
        if v is None:
            raise KeyError(key)
        return v

    def bytes(self):
        if self._raw is None:
            self._raw = _read(_call_input_read)
        return self._raw

    def text(self):
        return self.bytes().decode()

    @property
    def data(self):
        if not self._decoded:
            self._decoded = True
            self._data = _decode(self.bytes())
        return self._data

    @property
    def params(self):
        if self._params is None:
            self._params = json.loads(_meta("params") or "{}")
        return self._params


def _list(call, prefix):
    keys, cursor = [], 0
    while True:
        page = _read(call, prefix, cursor)
        cursor, i = int.from_bytes(page[:4], "little"), 4
        while i < len(page):
            n = int.from_bytes(page[i : i + 4], "little")
            keys.append(page[i + 4 : i + 4 + n].decode())
            i += 4 + n
        if not cursor:
            return keys


class State:
    def get(self, key, default=None):
        raw = _read(_call_kv_get, _name(key, "state.get: the key"))
        return default if raw is None else _decode(raw)

    def set(self, key, value, ttl=None):
        _name(key, "state.set: the key")
        value = value if isinstance(value, (bytes, bytearray)) else _json(value)
        _send(_call_kv_set, key, value, _seconds(ttl, "ttl"))

    def delete(self, key):
        n = _call_kv_del(_name(key, "state.delete: the key"))
        if n < 0:
            _refused(n)

    def list(self, prefix=""):
        return _list(_call_kv_list, _name(prefix, "state.list: the prefix"))

    def __getitem__(self, key):
        raw = _read(_call_kv_get, _name(key, "state: the key"))
        if raw is None:
            raise KeyError(key)
        return _decode(raw)

    def __setitem__(self, key, value):
        self.set(key, value)

    def __delitem__(self, key):
        self.delete(key)

    def __contains__(self, key):
        return _read(_call_kv_get, _name(key, "state: the key")) is not None

    def __iter__(self):
        return iter(self.list())


def _log(level, message, args):
    _call_log(level, (str(message) % args) if args else str(message))


class Log:
    def __call__(self, message, *args):
        _log(1, message, args)

    def debug(self, message, *args):
        _log(0, message, args)

    def info(self, message, *args):
        _log(1, message, args)

    def warning(self, message, *args):
        _log(2, message, args)

    def error(self, message, *args):
        _log(3, message, args)

    warn = warning


class Context:
    """What a handler may do. All of it happens when the handler has succeeded, or nothing."""

    def __init__(self):
        self.state = State()
        self.log = Log()

    @property
    def params(self):
        return _event.params

    @property
    def objects(self):
        import _objects

        return _objects.objects

    def publish(self, topic, payload=None, qos=0, retain=False, expiry=None):
        if qos not in (0, 1, 2):
            raise ValueError("publish: qos %r is not 0, 1 or 2" % qos)
        if retain:
            qos |= 4
        _send(_call_publish, _name(topic, "publish: the topic"), _encode(payload), qos, _seconds(expiry, "expiry") if expiry is not None else 0)

    def enqueue(self, queue, payload=None, delay=None):
        _send(_call_enqueue, _name(queue, "enqueue: the queue"), _encode(payload), _seconds(delay, "delay"))

    def invoke(self, function, payload=None):
        _send(_call_invoke, _name(function, "invoke: the function"), _encode(payload))

    def metric(self, name, value):
        if not isinstance(value, (int, float)):
            raise TypeError("metric: the value is not a number")
        _call_metric(_name(name, "metric: the name"), float(value))

    def secret(self, name):
        raw = _read(_call_secret, _name(name, "secret: the name"))
        return None if raw is None else raw.decode()

    def now(self):
        return _call_now_ms() / 1000

    def sensor(self, name, max_age=None):
        raw = _read(_call_sensor_read, _name(name, "sensor: the name"))
        if raw is None:
            return None
        r = json.loads(raw)
        if max_age is not None and (r["quality"] != "good" or r["age_ms"] > _seconds(max_age, "max_age") * 1000):
            raise HeadgateError("sensor %s: %s, %g s old: %s" % (name, r["quality"], r["age_ms"] / 1000, r.get("fault", "")), "UNAVAILABLE")
        return r

    def actuate(self, name, value, lease=None):
        n = _call_actuate(_name(name, "actuate: the name"), _encode(value), int(_seconds(lease, "lease") * 1000))
        if n < 0:
            _refused(n)
        return n / 1000

    def fetch(self, url, method="GET", headers=None, body=None, json=None, timeout=None):
        import _fetch

        return _fetch.fetch(url, method, headers, body, json, timeout)


def _output(v):
    if isinstance(v, str):
        _call_output(v)
    elif isinstance(v, (bytes, bytearray)):
        _call_output(_addressof(v), len(v))
    elif isinstance(v, memoryview):
        _output(bytes(v))
    else:
        _call_output_meta("datacontenttype", "application/json")
        _call_output(_json(v))


def _attribute(key, value):
    n = _call_output_meta(key, str(value))
    if n < 0:
        _refused(n)


def _reply(body, status=200, headers=None):
    _attribute("status", int(status))
    if body is not None:
        _output(body)
    if headers:
        for k, v in headers.items() if hasattr(headers, "items") else headers:
            k = k.lower()
            _attribute("datacontenttype" if k == "content-type" else "header." + k, v)


def _answer(r):
    if isinstance(r, (str, bytes, dict, list)):
        return _output(r)
    if hasattr(r, "send") and hasattr(r, "throw"):
        r = _finish(r)
        if r is None:
            return
    if isinstance(r, tuple) and 2 <= len(r) <= 3 and (isinstance(r[1], int) or len(r) == 2 and isinstance(r[1], dict)):
        # Flask's (body, status), (body, headers), (body, status, headers)
        if isinstance(r[1], int):
            _reply(*r)
        else:
            _reply(r[0], 200, r[1])
    elif hasattr(r, "_reply"):
        r._reply()
    else:
        _output(r)


def _finish(coroutine):
    # A handler has nothing to wait for: what it awaits is done at once.
    try:
        while True:
            coroutine.send(None)
    except StopIteration as e:
        return e.value


_ballast = ()
_GAP = 16384
_hooks = []  # called before every event
_registered = []  # (form, function) by functions_framework
_event = Event()  # of every event: each finds it as it is here
context = Context()
_adapter = None


def _run():
    for hook in _hooks:
        hook()
    r = _adapter(_event)
    if r is not None:
        _answer(r)


_names = ("handle", "handler", "lambda_handler")


def _load(main, stem):
    global _adapter
    folder = main[: main.rfind("/")] if "/" in main else ""
    sys.path[:] = ([folder] if folder else []) + ["", ".headgate", ".frozen"]
    context.config = json.loads(_read(_call_config_json))
    module = __import__(stem)
    if getattr(module, "__file__", None) != main:
        raise LoadError("%s: Python has a module called %s of its own: rename the file" % (main, stem))
    form, name, f = _find(module, main)
    params = _parameters(main, name)
    _adapter = _adapt(form, name, f, params, main)


def _find(module, main):
    if len(_registered) > 1:
        raise LoadError("%s: more than one function is registered: %s: keep one in a file" % (main, ", ".join(sorted(r[1] for r in _registered))))
    if _registered:
        return _registered[0]
    functions = (type(lambda: 0), type(_generator), type(_closure()))
    found = {}
    for n, v in module.__dict__.items():
        if type(v) in functions and not n.startswith("_") and getattr(v, "__globals__", module.__dict__) is module.__dict__:
            found[n] = v
    named = [n for n in _names if n in found]
    if not named and len(found) == 1:
        named = list(found)
    if len(named) == 1:
        return None, named[0], found[named[0]]
    if named:
        raise LoadError("%s defines %s: keep one of them, it is not clear which is the handler" % (main, " and ".join(named)))
    if found:
        raise LoadError("%s defines %s: call the handler handle, or begin the names of the others with _" % (main, ", ".join(sorted(found))))
    raise LoadError("%s defines no handler: write def handle(event, ctx)" % main)


def _settle():
    # The engine looks for room behind the last small object that it made, so
    # gaps that loading left behind would be searched at every larger one. Those
    # before the first large gap are filled for good.
    global _ballast
    end = _addressof(bytearray(_GAP))
    while id(_ballast) < end:
        _ballast = (_ballast,)
    gc.collect()


def _rest():
    # The last call: what it makes goes where settle's own garbage was.
    global _ballast
    n = 0
    while n < 32:
        _ballast = (_ballast,)
        n += 1


def _generator():
    yield


def _closure():
    x = 0
    return lambda: x


def _parameters(main, name):
    # The names of the parameters without a default, from the source: the
    # engine does not keep them.
    with open(main) as f:
        source = f.read()
    at = source.find("def " + name + "(")
    if at < 0:
        return None
    i = at + len(name) + 5
    names, word, depth, default, quote = [], "", 0, False, ""
    while i < len(source):
        c = source[i]
        i += 1
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c == "#":
            while i < len(source) and source[i] != "\n":
                i += 1
        elif c in "([{":
            depth += 1
        elif c in ")]}" and depth:
            depth -= 1
        elif c in ",)" and not depth:
            word = word.strip()
            if word and not default and word[0] not in "*/":
                names.append(word)
            word, default = "", False
            if c == ")":
                break
        elif depth:
            pass
        elif c == "=":
            default = True
        elif c == ":":
            word += " "
            default = default or False
        elif not default:
            word += c
    return [n.split()[0] for n in names]


def _adapt(form, name, f, params, main):
    count = 2 if params is None else len(params)
    if count > 2:
        raise LoadError("%s: %s wants %d arguments: a handler gets (event, ctx), or (request)" % (main, name, count))
    if form is None:
        if name in ("handler", "lambda_handler") or count == 2 and params and params[1] == "context":
            form = "lambda"
        elif name != "handle" and count == 1 and params[0] not in ("event", "evt", "e", "message", "msg"):
            form = "http"
    if form == "http":
        import _http

        return _http.adapter(f)
    if form == "lambda":
        import _lambda

        return _lambda.adapter(f, count)
    if count == 2 and form is None:
        return lambda event: f(event, context)
    if count == 0:
        return lambda event: f()
    return f
