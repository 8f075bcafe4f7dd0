import { Context, Event } from "headgate";

let counter = 0;
let kept: string[] = [];

export function handle(event: Event, ctx: Context): void {
  counter++;
  kept.push("x".repeat(100));
  if (event.text == "random") return ctx.outputBytes(ctx.random(16));
  if (event.text == "trap") throw new Error("asked to trap");
  if (event.text == "fail") return ctx.fail("asked to fail");
  ctx.output((counter + kept.length - 1).toString());
}
