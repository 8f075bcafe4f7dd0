# Outgoing HTTP.
import json as _json
import headgate
import _host


class Response:
    def __init__(self, head, body):
        self.status = self.status_code = head["status"]
        self.url = head["url"]
        self.content = body
        import _http

        values = {}
        for k, v in head["headers"]:
            values[k] = values[k] + ", " + v if k in values else v
        self.headers = _http.Headers(values)

    @property
    def ok(self):
        return 200 <= self.status < 300

    @property
    def text(self):
        return self.content.decode()

    def json(self):
        return _json.loads(self.content)

    def raise_for_status(self):
        if self.status >= 400:
            raise headgate.HeadgateError("%s answered %d" % (self.url, self.status), "UNAVAILABLE")


def fetch(url, method, headers, body, value, timeout):
    head = {"url": headgate._name(url, "fetch: the URL"), "method": method.upper()}
    fields = [[k, str(v)] for k, v in (headers or {}).items()]
    if value is not None:
        if body is not None:
            raise TypeError("fetch: give body or json, not both")
        body = headgate._json(value)
        if not any(k.lower() == "content-type" for k, _ in fields):
            fields.append(["content-type", "application/json"])
    head["headers"] = fields
    if timeout is not None:
        head["timeout_ms"] = int(timeout * 1000) if isinstance(timeout, (int, float)) else headgate._seconds(timeout, "timeout") * 1000
    request = headgate._json(head).encode()
    if body is not None:
        request += b"\n" + (body.encode() if isinstance(body, str) else bytes(body))
    raw = headgate._read(_host.http_fetch, headgate._addressof(request), len(request))
    if raw is None:
        raise headgate.HeadgateError("fetch: no answer", "UNAVAILABLE")
    at = raw.find(b"\n")
    return Response(_json.loads(raw[:at] if at >= 0 else raw), raw[at + 1 :] if at >= 0 else b"")
