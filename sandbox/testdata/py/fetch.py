def handle(event, ctx):
    r = ctx.fetch('https://api.example.org/v1?q="1"', method="POST", headers={"Accept": "text/plain"}, body="hi\nthere", timeout="2s")
    return "%d %s %d" % (r.status, r.headers["Content-Type"], len(r.content))
