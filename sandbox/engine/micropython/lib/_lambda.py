# The form that AWS Lambda made known: a function of the decoded data and a
# context. An HTTP request comes as a function URL gives it (payload 2.0).
import json
import headgate


class LambdaContext(headgate.Context):
    """Lambda's context, and all that a Headgate context has."""

    identity = client_context = None

    @property
    def function_name(self):
        return headgate._meta("function")

    @property
    def function_version(self):
        return headgate._meta("version")

    @property
    def invoked_function_arn(self):
        return "arn:headgate:function:%s:%s" % (self.function_name, self.function_version)

    @property
    def aws_request_id(self):
        return headgate._meta("id")

    log_group_name = log_stream_name = function_name

    def get_remaining_time_in_millis(self):
        return int(headgate._meta("remaining_ms"))


def _request(event, method):
    headers = json.loads(event.meta("httpheaders") or "{}")
    query = event.meta("httpquery") or ""
    import _http

    body = event.bytes()
    try:
        text, encoded = body.decode(), False
    except UnicodeError:
        import binascii

        text, encoded = binascii.b2a_base64(body)[:-1].decode(), True
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": event.subject, "rawQueryString": query,
        "headers": headers, "queryStringParameters": _http.Args(query).to_dict(), "pathParameters": event.params,
        "requestContext": {
            "requestId": event.id, "stage": "$default", "time": event.time,
            "http": {"method": method, "path": event.subject, "sourceIp": event.meta("httpremote"), "userAgent": headers.get("user-agent", "")},
        },
        "body": text, "isBase64Encoded": encoded,
    }


def adapter(f, count):
    context = LambdaContext()
    context.config = headgate.context.config
    headgate.context = context

    def call(event):
        method = event.meta("httpmethod")
        data = _request(event, method) if method else event.data
        r = f(data, context) if count == 2 else f(data)
        if hasattr(r, "send") and hasattr(r, "throw"):
            r = headgate._finish(r)
        if method and isinstance(r, dict) and "statusCode" in r:
            body = r.get("body")
            if r.get("isBase64Encoded"):
                import binascii

                body = binascii.a2b_base64(body)
            return body, r["statusCode"], r.get("headers")
        return r

    return call
