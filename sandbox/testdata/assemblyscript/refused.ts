import { Context, Event, errno } from "headgate";

// Asks for what is denied or not there, and fails.
export function handle(event: Event, ctx: Context): void {
  const codes: i32[] = [];
  ctx.get("a");
  codes.push(errno);
  codes.push(ctx.publish("a", "1"));
  codes.push(ctx.enqueue("a", ""));
  codes.push(ctx.invoke("a"));
  ctx.secret("k");
  codes.push(errno);
  codes.push(ctx.actuate("a", "on", 0));
  ctx.sensor("a");
  codes.push(errno);
  ctx.fetch("u");
  codes.push(errno);
  ctx.log(codes.join(" "));
  ctx.set("b", "1");
  ctx.publish("b", "1");
  ctx.fail("asked to fail");
}
