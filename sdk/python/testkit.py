"""A host in memory, to test a function with plain Python 3:

    from testkit import run
    import irrigate

    r = run(irrigate.handle, data={"moisture": 20}, params={"field": "3"}, config={"target": 30})
    assert r.published == [{"topic": "farm/3/valve", "payload": "open", "qos": 0, "retain": False}]

Durations in what comes back are seconds. `denied` lists the topics, state keys,
queues and functions that the permissions do not allow, `secrets` has those that
the manifest declares, None while one is not set, `sensors` the readings: a number is
a good value. `answers` maps a URL to what a
fetch of it gets: (status, body) or (status, body, headers); a URL that is not
there is denied. `objects` maps bucket/key to the bytes or text of objects that
there are. Nothing is limited here; `headgate test` runs on the real
sandbox. Importing this module makes `import headgate` work too.
"""

import copy
import json as _json
import math
import re
import sys
import time
import types

_units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


class HeadgateError(Exception):
    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


def _seconds(v, what):
    if v is None:
        return 0
    n = v
    if isinstance(v, str):
        n = -1
        if re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", v):
            n = sum(float(x) * _units[u] for x, _, u in re.findall(r"(\d+(\.\d+)?)(ms|s|m|h|d)", v))
    if isinstance(n, bool) or not isinstance(n, (int, float)) or not 0 <= n <= 4294967295:
        raise TypeError("%s: %r is not a duration: give seconds or '20m'" % (what, v))
    return math.ceil(n)


def _name(v, what):
    if not isinstance(v, str):
        raise TypeError(what + " is not a str")
    return v


def _dumps(v):
    return _json.dumps(v, separators=(",", ":"), allow_nan=False)


def _encode(v):
    if v is None:
        return b""
    if isinstance(v, (str, bytes)):
        return v
    return bytes(v) if isinstance(v, (bytearray, memoryview)) else _dumps(v)


class Event:
    def __init__(self, raw, meta, params):
        self._raw, self._meta, self.params = raw, meta, params
        self.id, self.source, self.type = meta.get("id"), meta.get("source"), meta.get("type")
        self.subject, self.time, self.datacontenttype = meta.get("subject"), meta.get("time"), meta.get("datacontenttype")
        self.attempt = int(meta.get("attempt", 1))

    def bytes(self):
        return self._raw

    def text(self):
        return self._raw.decode()

    @property
    def data(self):
        try:
            return _json.loads(self._raw)
        except ValueError:
            return self._raw

    def meta(self, key):
        if key.startswith("params."):
            return self.params.get(key[7:])
        return self._meta.get(key)

    def __getitem__(self, key):
        return self._meta[key]


class State:
    def __init__(self, values, allow):
        self._values, self._allow = values, allow

    def get(self, key, default=None):
        self._allow("state.get", _name(key, "state.get: the key"))
        return copy.deepcopy(self._values.get(key, default))

    def set(self, key, value, ttl=None):
        self._allow("state.set", _name(key, "state.set: the key"))
        _seconds(ttl, "ttl")
        self._values[key] = bytes(value) if isinstance(value, (bytes, bytearray)) else _json.loads(_dumps(value))

    def delete(self, key):
        self._allow("state.delete", _name(key, "state.delete: the key"))
        self._values.pop(key, None)

    def list(self, prefix=""):
        return sorted(k for k in self._values if k.startswith(prefix))

    def __getitem__(self, key):
        self._allow("state.get", key)
        return copy.deepcopy(self._values[key])

    def __contains__(self, key):
        self._allow("state.get", key)
        return key in self._values

    def __iter__(self):
        return iter(self.list())

    __setitem__, __delitem__ = set, delete


class Object:
    def __init__(self, bucket, key, content, type):
        import hashlib

        self.bucket, self.key, self._content, self.type, self.size = bucket, key, content, type, len(content)
        self.digest, self.modified = "sha256:" + hashlib.sha256(content).hexdigest(), "1970-01-01T00:00:00Z"

    def bytes(self):
        return self._content

    def text(self):
        return self._content.decode()

    def json(self):
        return _json.loads(self._content)


class Objects:
    def __init__(self, values, allow):
        self._values, self._types, self._allow = values, {}, allow

    def _named(self, bucket, key, what):
        name = _name(bucket, what + ": the bucket") + "/" + _name(key, what + ": the key")
        self._allow(what, name)
        return name

    def get(self, bucket, key):
        name = self._named(bucket, key, "objects.get")
        if name not in self._values:
            return None
        return Object(bucket, key, self._values[name], self._types.get(name, "application/octet-stream"))

    stat = get

    def read(self, bucket, key, offset, length):
        content = self._values.get(self._named(bucket, key, "objects.read"))
        return None if content is None else content[offset : offset + length]

    def put(self, bucket, key, body, type=""):
        name = self._named(bucket, key, "objects.put")
        body = _encode(body) if body is not None else "null"
        self._values[name] = body.encode() if isinstance(body, str) else body
        self._types[name] = type or "application/octet-stream"

    def delete(self, bucket, key):
        self._values.pop(self._named(bucket, key, "objects.delete"), None)

    def list(self, bucket, prefix=""):
        return sorted(k[len(bucket) + 1 :] for k in self._values if k.startswith(bucket + "/" + prefix))


class Log:
    def __init__(self, lines):
        self._lines = lines
        for level in ("debug", "info", "warning", "error"):
            setattr(self, level, lambda message, *args, level=level: self._add(level, message, args))

    def _add(self, level, message, args):
        self._lines.append({"level": level, "text": str(message) % args if args else str(message)})

    def __call__(self, message, *args):
        self._add("info", message, args)


class Response:
    def __init__(self, url, status, body, headers=None):
        self.url, self.status, self.status_code, self.ok = url, status, status, 200 <= status < 300
        self.content = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else _dumps(body).encode()
        self.headers = {k.lower(): v for k, v in (headers or {}).items()}

    @property
    def text(self):
        return self.content.decode()

    def json(self):
        return _json.loads(self.content)

    def raise_for_status(self):
        if self.status >= 400:
            raise HeadgateError("%s answered %d" % (self.url, self.status), "UNAVAILABLE")


class Context:
    def __init__(self, result, values, objects, config, params, now, denied, secrets, answers, sensors):
        self._sensors = sensors
        self.objects = Objects(objects, self._allow)
        self._result, self._denied, self._secrets, self._answers, self._now = result, denied, secrets, answers, now
        self.state, self.config, self.params, self.log = State(values, self._allow), config, params, Log(result.logs)

    def _allow(self, what, name):
        if name in self._denied:
            raise HeadgateError("%s %s: permission denied" % (what, name), "DENIED")

    def publish(self, topic, payload=None, qos=0, retain=False, expiry=None):
        self._allow("publish", _name(topic, "publish: the topic"))
        if qos not in (0, 1, 2):
            raise ValueError("publish: qos %r is not 0, 1 or 2" % qos)
        message = {"topic": topic, "payload": _encode(payload), "qos": qos, "retain": bool(retain)}
        if expiry is not None:
            message["expiry"] = _seconds(expiry, "expiry")
        self._result.published.append(message)

    def enqueue(self, queue, payload=None, delay=None):
        self._allow("enqueue", _name(queue, "enqueue: the queue"))
        job = {"queue": queue, "payload": _encode(payload)}
        if delay is not None:
            job["delay"] = _seconds(delay, "delay")
        self._result.enqueued.append(job)

    def invoke(self, function, payload=None):
        self._allow("invoke", _name(function, "invoke: the function"))
        self._result.invoked.append({"name": function, "payload": _encode(payload)})

    def metric(self, name, value):
        self._result.metrics[_name(name, "metric: the name")] = float(value)

    def secret(self, name):
        if name not in self._secrets:
            raise HeadgateError("secret %s: permission denied" % name, "DENIED")
        return self._secrets[name]

    def now(self):
        return self._now

    def sensor(self, name, max_age=None):
        self._allow("sensor", _name(name, "sensor: the name"))
        s = self._sensors.get(name)
        if s is None:
            return None
        r = {"quality": "good", "age_ms": 0, "sensor": name, "seq": 1}
        r.update(s if isinstance(s, dict) else {"value": s})
        if max_age is not None and (r["quality"] != "good" or r["age_ms"] > _seconds(max_age, "max_age") * 1000):
            raise HeadgateError("sensor %s: %s, %g s old" % (name, r["quality"], r["age_ms"] / 1000), "UNAVAILABLE")
        return r

    def actuate(self, name, value, lease=None):
        self._allow("actuate", _name(name, "actuate: the name"))
        value = value if isinstance(value, str) else str(value)
        asked = {"name": name, "value": value}
        if lease is not None:
            asked["lease"] = _seconds(lease, "lease")
        self._result.actuated.append(asked)
        return 0 if value == "off" else asked.get("lease", 600)

    def fetch(self, url, method="GET", headers=None, body=None, json=None, timeout=None):
        if url not in self._answers:
            raise HeadgateError("fetch %s: permission denied" % url, "DENIED")
        self._result.fetched.append({"url": url, "method": method.upper(), "body": _dumps(json) if json is not None else body})
        return Response(url, *self._answers[url])


class Result:
    """What a handler asked for; nothing when it failed."""

    def __init__(self):
        self.output = self.error = None
        self.published, self.enqueued, self.invoked, self.actuated, self.fetched, self.logs = [], [], [], [], [], []
        self.metrics, self.state, self.objects = {}, {}, {}


def run(handler, data=None, text=None, meta=None, params=None, config=None, state=None, now=None, denied=(), secrets=None, answers=None, objects=None, sensors=None):
    """Gives one event to a handler of (event, ctx)."""
    if text is None:
        text = b"" if data is None else _dumps(data)
    raw = text.encode() if isinstance(text, str) else text
    r, values = Result(), copy.deepcopy(state or {})
    now = time.time() if now is None else now
    before = {k: v.encode() if isinstance(v, str) else v for k, v in (objects or {}).items()}
    kept = dict(before)
    context = Context(r, values, kept, config or {}, params or {}, now, denied, secrets or {}, answers or {}, sensors or {})
    clock = time.time
    time.time = lambda: now
    try:
        output = handler(Event(raw, meta or {}, params or {}), context)
        r.output = None if output is None else _encode(output)
        r.state, r.objects = values, kept
    except Exception as e:
        r.error, r.state, r.objects = e, copy.deepcopy(state or {}), before
        r.published, r.enqueued, r.invoked, r.actuated = [], [], [], []
    finally:
        time.time = clock
    return r


_module = types.ModuleType("headgate")
_module.HeadgateError, _module.Event, _module.Context, _module.State = HeadgateError, Event, Context, State
sys.modules.setdefault("headgate", _module)
