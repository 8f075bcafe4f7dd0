import { Context, errno, Event } from "headgate";

function code(ctx: Context, name: string, maxAgeMs: f64): string {
  const v = ctx.sensorValue(name, maxAgeMs);
  if (!isNaN(v)) return "?";
  return errno == -6 ? "UNAVAILABLE" : errno == -1 ? "NOT_FOUND" : errno == -2 ? "DENIED" : errno.toString();
}

export function handle(event: Event, ctx: Context): void {
  const v = ctx.sensorValue("soil-1", 60000);
  ctx.output([v.toString(), code(ctx, "soil-old", 30000), code(ctx, "soil-bad", 3600000), code(ctx, "soil-none", 1), code(ctx, "air", 1)].join(" "));
}
