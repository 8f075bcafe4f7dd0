// Publishes {"high":true} when a reading passes config.high, {"high":false}
// when it is config.hysteresis below it again, and nothing in between.
import { Context, Event, Json } from "headgate";

export function handle(event: Event, ctx: Context): void {
  const data = event.json;
  if (data === null || !data.get("value").isNumber) return ctx.fail("no value in the event");
  const value = data.get("value").number;
  const high = ctx.config("high");
  if (high === null) return ctx.fail("config.high is missing");
  const hysteresis = ctx.config("hysteresis");

  const sensor = event.param("sensor");
  const was = ctx.getBytes(sensor) !== null; // there is a key while it is high
  const limit = high.number - (was && hysteresis !== null ? hysteresis.number : 0);
  const is = value > limit;
  if (is == was) return;
  if (is) ctx.set(sensor, "1");
  else ctx.delete(sensor);
  const alarm = Json.object().set("high", Json.fromBool(is)).set("value", Json.fromNumber(value));
  ctx.publish("alarms/" + sensor, alarm.toString(), 1, true);
}
