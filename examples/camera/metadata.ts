// Keeps a row about every picture of the cameras: how large it is, which its
// header says. Only that much of it is read, however many megabytes it has.
import { Context, Event, Json } from "headgate";

const NO_SIZE: u64 = 0;

export function handle(event: Event, ctx: Context): void {
  if (event.type == "io.headgate.http.request") return list(ctx);
  const object = event.json;
  if (object === null) return ctx.fail("no JSON in the event");
  const key = object.get("key").string;
  if (event.type == "io.headgate.object.deleted") {
    ctx.delete("picture/" + key);
    return;
  }
  const size = object.get("type").string == "image/png" ? sizeOfPNG(ctx, key) : sizeOfJPEG(ctx, key);
  if (size == NO_SIZE) {
    ctx.log(key + " has no header of its type");
    ctx.delete("picture/" + key); // what was under the key before
    return;
  }
  const row = Json.object()
    .set("camera", Json.fromString(event.param("camera")))
    .set("width", Json.fromNumber(<f64>(size >> 32)))
    .set("height", Json.fromNumber(<f64>(size & 0xffffffff)))
    .set("bytes", object.get("size"))
    .set("type", object.get("type"))
    .set("digest", object.get("digest"))
    .set("modified", object.get("modified"));
  ctx.set("picture/" + key, row.toString());
}

/** Answers with all rows. */
function list(ctx: Context): void {
  const rows = Json.list();
  const keys = ctx.list("picture/");
  for (let i = 0; i < keys.length; i++) {
    const row = ctx.getJson(keys[i]);
    if (row !== null) rows.push(row.set("key", Json.fromString(keys[i].substr(8))));
  }
  ctx.outputMeta("datacontenttype", "application/json");
  ctx.output(rows.toString());
}

/** Some bytes of a picture; null where it has not so many. */
function at(ctx: Context, key: string, offset: i64, length: i32): DataView | null {
  const b = ctx.readObject("camera", key, offset, length);
  return b === null || b.byteLength < length ? null : new DataView(b);
}

/** Width and height, in the upper and lower half; NO_SIZE where there is none. */
function sizeOfPNG(ctx: Context, key: string): u64 {
  const b = at(ctx, key, 0, 24);
  if (b === null || b.getUint32(0) != 0x89504e47 || b.getUint32(12) != 0x49484452) return NO_SIZE; // IHDR comes first
  return (<u64>b.getUint32(16) << 32) | b.getUint32(20);
}

/** The same of a JPEG: it is in the segment that starts the frame. */
function sizeOfJPEG(ctx: Context, key: string): u64 {
  const start = at(ctx, key, 0, 2);
  if (start === null || start.getUint16(0) != 0xffd8) return NO_SIZE;
  let offset: i64 = 2;
  for (let segments = 0; segments < 100; segments++) {
    const b = at(ctx, key, offset, 9);
    if (b === null || b.getUint8(0) != 0xff) return NO_SIZE;
    const marker = b.getUint8(1);
    // SOF0 to SOF15, without the tables DHT, JPG and DAC among them.
    if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc) {
      return (<u64>b.getUint16(7) << 32) | b.getUint16(5);
    }
    offset += 2 + b.getUint16(2);
  }
  return NO_SIZE;
}
