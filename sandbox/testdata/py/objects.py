from headgate import HeadgateError


def handle(event, ctx):
    a = ctx.objects.get("camera", "in/a.txt")
    part = ctx.objects.read("camera", "in/a.txt", 6, 5).decode()
    ctx.objects.put("thumbs", "copy.txt", "copy of " + a.text(), type="text/x-copy")
    ctx.objects.delete("camera", "in/b.bin")
    denied = "allowed"
    try:
        ctx.objects.put("other", "x", "y")
    except HeadgateError as e:
        denied = e.code.lower()
    missing = ctx.objects.get("camera", "none")
    size = ctx.objects.stat("camera", "in/a.txt").size
    own = len(ctx.objects.get("thumbs", "copy.txt").bytes())
    return "|".join([a.text(), part, str(size), str(own), ",".join(ctx.objects.list("camera", "in/")), "none" if missing is None else "some", denied])
