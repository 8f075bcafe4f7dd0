from headgate import HeadgateError


def handle(event, ctx):
    def code(name, **kw):
        try:
            return "NOT_FOUND" if ctx.sensor(name, **kw) is None else "?"
        except HeadgateError as e:
            return e.code

    bad = ctx.sensor("soil-bad")
    if "value" in bad or bad["quality"] != "bad" or bad["last"] != 3:
        raise ValueError(bad)
    soil = ctx.sensor("soil-1", max_age="1m")
    return "%s %s %s %s %s" % (soil["value"], code("soil-old", max_age="30s"), code("soil-bad", max_age="1h"), code("soil-none"), code("air"))
