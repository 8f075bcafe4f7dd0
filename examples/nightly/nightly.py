"""Publishes a report of yesterday, and deletes the days that nobody asks for
any more."""

import datetime

OF = "collect:"  # whose keys they are; a list names them without it
MOST = 200  # keys in a night: an invocation may have 256 effects


def handle(event, ctx):
    # The instant that the timer fires for: it may do so late.
    due = datetime.datetime.fromisoformat(event.data["due"][:19])
    today = (due - datetime.datetime(1970, 1, 1)).days

    probes = {}
    for key in ctx.state.list(OF + "day/%06d/" % (today - 1)):
        row = ctx.state[OF + key]
        probes[key.split("/")[-1]] = {"n": row["n"], "min": row["min"], "max": row["max"], "mean": row["sum"] / row["n"]}
    date = (due - datetime.timedelta(days=1)).isoformat()[:10]
    ctx.publish("reports/" + date, {"date": date, "probes": probes}, qos=1, retain=True, expiry="720h")

    first = "day/%06d/" % (today - ctx.config["keep"])
    old = [key for key in ctx.state.list(OF + "day/") if key < first]
    for key in old[:MOST]:
        ctx.state.delete(OF + key)
    if len(old) > MOST:
        ctx.log.warning("%d old rows are left for tomorrow", len(old) - MOST)
    return {"probes": len(probes), "deleted": len(old[:MOST])}
