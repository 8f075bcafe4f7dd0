import { Context, Event } from "headgate";

export function handle(event: Event, ctx: Context): void {
  const raw = ctx.getObject("camera", "in/a.txt");
  if (raw === null) return ctx.fail("permission");
  const a = String.UTF8.decode(raw);
  const part = String.UTF8.decode(ctx.readObject("camera", "in/a.txt", 6, 5)!);
  const size = <i32>ctx.statObject("camera", "in/a.txt")!.get("size").number;
  ctx.putObject("thumbs", "copy.txt", String.UTF8.encode("copy of " + a), "text/x-copy");
  ctx.deleteObject("camera", "in/b.bin");
  const own = ctx.getObject("thumbs", "copy.txt")!.byteLength;
  const keys = ctx.listObjects("camera", "in/").join(",");
  const missing = ctx.getObject("camera", "none") === null ? "none" : "some";
  const denied = ctx.putObject("other", "x", String.UTF8.encode("y")) == -2 ? "denied" : "allowed";
  ctx.output(a + "|" + part + "|" + size.toString() + "|" + own.toString() + "|" + keys + "|" + missing + "|" + denied);
}
