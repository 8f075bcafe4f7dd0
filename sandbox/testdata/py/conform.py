from headgate import HeadgateError


def _same(what, got, want):
    if got != want:
        raise AssertionError("%s: %r" % (what, got))


def _code(f, *args):
    try:
        f(*args)
    except HeadgateError as e:
        return e.code


def handle(event, ctx):
    state = ctx.state
    _same("input", event.data["value"], -275)
    _same("text", [event.text(), event.bytes()[0]], ['{"value": -27.5e1}', 123])
    _same("params", [event.params, ctx.params], [{"field": "3"}, {"field": "3"}])
    _same("meta", [event.meta("nothing"), event.meta("params.field"), event.id], [None, "3", None])
    _same("config", ctx.config, {"mode": "on", "target": 32})
    _same("missing", [state.get("missing"), state.get("missing", 7), "missing" in state], [None, 7, False])
    _same("denied", _code(state.get, "other:x"), "DENIED")
    state["runs"] += 1
    state.set("soil-1", 1, ttl="1m")
    del state["old"]
    _same("own write", state.get("runs"), 42)
    ctx.publish("farm/3/valve", "open", qos=1, retain=True, expiry="1m30s")
    _same("publish", _code(ctx.publish, "secret/x", ""), "DENIED")
    ctx.enqueue("jobs", {"a": 1}, delay=5)
    ctx.invoke("other", "hi")
    _same("secret", [ctx.secret("k"), ctx.secret("unset"), _code(ctx.secret, "other")], ["s3cret", None, "DENIED"])
    import time

    _same("now", ctx.now(), time.time())
    ctx.metric("moisture", 27.5)
    ctx.log("conform")
    return " ".join(state.list()) + " "
