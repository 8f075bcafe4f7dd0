import { Context, Event, Json, DENIED, errno } from "headgate";

function same(what: string, ok: bool): void {
  if (!ok) throw new Error(what);
}

const ready: string = "on";

export function handle(event: Event, ctx: Context): void {
  const data = event.json;
  same("input", data !== null && data.get("value").number == -275);
  same("text", event.text == '{"value": -27.5e1}');
  same("params", event.param("field") == "3");
  same("meta", event.meta("nothing") === null && event.id == "");
  const target = ctx.config("target"), mode = ctx.config("mode");
  same("config", target !== null && target.number == 32 && mode !== null && mode.string == ready);
  same("missing", ctx.get("missing") === null);
  same("denied", ctx.get("other:x") === null && errno == DENIED);
  const runs = ctx.getJson("runs");
  same("runs", runs !== null && runs.number == 41);
  same("set", ctx.set("runs", "42") == 0 && ctx.set("soil-1", "1", 60) == 0 && ctx.delete("old") == 0);
  same("own write", ctx.get("runs")! == "42");
  same("publish", ctx.publish("farm/3/valve", "open", 1, true, 90) == 0);
  same("publish denied", ctx.publish("secret/x", "") == DENIED);
  same("enqueue", ctx.enqueue("jobs", Json.object().set("a", Json.fromNumber(1)).toString(), 5) == 0);
  same("invoke", ctx.invoke("other", "hi") == 0);
  same("secret", ctx.secret("k")! == "s3cret" && ctx.secret("unset") === null && ctx.secret("other") === null && errno == DENIED);
  same("now", ctx.now() > 1600000000000);
  same("random", load<u64>(changetype<usize>(ctx.random(8))) != load<u64>(changetype<usize>(ctx.random(8))));
  same("sensor", ctx.sensor("soil") === null && errno == DENIED);
  ctx.metric("moisture", 27.5);
  ctx.log("conform");
  ctx.outputMeta("kind", "test");
  ctx.output(ctx.list().join(" ") + " ");
}
