"""Publishes {"high": true} when a reading passes config.high, {"high": false}
when it is config.hysteresis below it again, and nothing in between."""


def handle(event, ctx):
    value = event.data.get("value")
    if value is None:
        raise ValueError("no value in the event")
    sensor = event.params["sensor"]
    limit = ctx.config["high"]
    was = sensor in ctx.state  # there is a key while it is high
    if was:
        limit -= ctx.config.get("hysteresis", 0)
    high = value > limit
    if high == was:
        return
    if high:
        ctx.state[sensor] = 1
    else:
        del ctx.state[sensor]
    ctx.publish("alarms/" + sensor, {"high": high, "value": value}, qos=1, retain=True)
