"""Tells the people on call. What it cannot tell them goes to siren."""


def handle(event, ctx):
    alert = event.data
    machine = alert["machine"]
    if alert["what"] == "silent" and ctx.state.get("watch:down/" + machine) != alert["since"]:
        ctx.log("%s came back", machine)
        return
    text = "%s: %s (%s)" % (machine, alert["what"], alert["detail"])
    answer = ctx.fetch(
        ctx.config["oncall"],
        method="POST",
        json={"text": text},
        # The same for every attempt: nobody is called twice for one alert.
        headers={"Authorization": "Bearer " + (ctx.secret("oncall_key") or ""), "Idempotency-Key": "alert-" + alert["since"]},
        timeout="3s",
    )
    answer.raise_for_status()
