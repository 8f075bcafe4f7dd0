// Notices machines that report a fault, or whose connection breaks without a
// goodbye and does not come back soon.
import { Context, Event, Json } from "headgate";

export function handle(event: Event, ctx: Context): void {
  const data = event.json;
  if (data === null) return ctx.fail("no JSON in the event");
  if (event.type == "io.headgate.device.connected") {
    ctx.delete("down/" + data.get("user").string);
    return;
  }
  const alert = Json.object().set("since", Json.fromString(event.id));
  if (event.type == "io.headgate.device.disconnected") {
    const machine = data.get("user").string;
    // The alert waits on its queue. It counts if this key is still the same
    // when it is due: a machine that came back and went again has another. It
    // is JSON, as other languages expect.
    ctx.set("down/" + machine, Json.fromString(event.id).toString());
    const grace = ctx.config("grace");
    alert.set("machine", Json.fromString(machine)).set("what", Json.fromString("silent")).set("detail", data.get("reason"));
    ctx.enqueue("alerts", alert.toString(), grace === null ? 0 : <u32>grace.number);
    return;
  }
  alert.set("machine", Json.fromString(event.param("machine"))).set("what", Json.fromString("fault")).set("detail", data.get("code"));
  ctx.enqueue("alerts", alert.toString());
}
