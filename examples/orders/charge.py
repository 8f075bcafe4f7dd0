"""Moves the money of an order. A request whose answer is lost is sent again
with the same key, and the payment server knows it by that: it charges once."""


def handle(event, ctx):
    order = event.data
    url = ctx.config["payments"] + "/charges"
    headers = {
        "Authorization": "Bearer " + (ctx.secret("payment_key") or ""),
        "Idempotency-Key": "order-" + order["id"],
    }
    if event.subject == "orders/void":
        # Nothing to void is an answer too.
        answer = ctx.fetch(url + "/" + order["id"], method="DELETE", headers=headers)
        if answer.status != 404:
            answer.raise_for_status()
        return

    charge = {"order": order["id"], "total": order["total"], "card": order["card"]}
    answer = ctx.fetch(url, method="POST", json=charge, headers=headers)
    if answer.status == 402:
        ctx.enqueue("orders/release", order)
        tell(ctx, order, {"status": "declined", "why": "the card was declined"})
        return
    answer.raise_for_status()  # the event is tried again later
    ctx.enqueue("orders/ship", order)
    tell(ctx, order, {"status": "paid"})


def tell(ctx, order, status):
    ctx.publish("orders/%s/status" % order["id"], status, qos=1)
