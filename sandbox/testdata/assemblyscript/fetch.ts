import { Context, Event, Json } from "headgate";

export function handle(event: Event, ctx: Context): void {
  const r = ctx.fetch('https://api.example.org/v1?q="1"', "POST", Json.object().set("Accept", Json.fromString("text/plain")), "hi\nthere", 2000);
  if (r === null) return ctx.fail("permission");
  ctx.output(r.status.toString() + " " + r.header("Content-Type")! + " " + r.body.byteLength.toString());
}
