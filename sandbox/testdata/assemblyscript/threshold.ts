import { Context, Event, Json } from "headgate";

export function handle(event: Event, ctx: Context): void {
  const data = event.json;
  if (data === null) return ctx.fail("no JSON");
  const value = data.get("value").number;
  if (value > 25) ctx.publish("alarm/gw-17", Json.object().set("v", Json.fromNumber(value)).toString());
}
