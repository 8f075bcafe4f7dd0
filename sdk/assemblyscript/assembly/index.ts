/** Functions for Headgate gateways in AssemblyScript. */
import * as abi from "./abi";
import { Json } from "./json";
export { Json, Kind } from "./json";

/** Numbers of refused calls; a call answers 0 when it was accepted. */
export const NOT_FOUND: i32 = -1;
export const DENIED: i32 = -2;
export const LIMIT: i32 = -3;
export const INVALID: i32 = -4;
export const UNSUPPORTED: i32 = -5;
export const UNAVAILABLE: i32 = -6;

export enum Level { Debug, Info, Warn, Error }

let failure: string = "";
let failed: bool = false;

// @ts-ignore: decorator
@inline function bytes(s: string): ArrayBuffer { return String.UTF8.encode(s); }
// @ts-ignore: decorator
@inline function at(b: ArrayBuffer): usize { return changetype<usize>(b); }

/** What the last reading call answered when it returned null. */
export let errno: i32 = 0;

function sized(room: ArrayBuffer, n: i32): ArrayBuffer | null {
  errno = n < 0 ? n : 0;
  return n < 0 ? null : room.slice(0, n);
}

function text(b: ArrayBuffer | null): string | null {
  return b === null ? null : String.UTF8.decode(b);
}

const ROOM: i32 = 512;

/** What happened. */
export class Event {
  private raw: ArrayBuffer | null = null;

  /** The payload as it came. */
  get data(): ArrayBuffer {
    let raw = this.raw;
    if (raw === null) {
      raw = new ArrayBuffer(abi.input_len());
      abi.input_read(at(raw), raw.byteLength);
      this.raw = raw;
    }
    return raw;
  }

  /** The payload as text. */
  get text(): string { return String.UTF8.decode(this.data); }

  /** The payload decoded; null when it is no JSON. */
  get json(): Json | null { return Json.parse(this.text); }

  /** An attribute of the event: id, source, params.field, … */
  meta(key: string): string | null {
    const k = bytes(key);
    let room = new ArrayBuffer(ROOM);
    let n = abi.meta(at(k), k.byteLength, at(room), ROOM);
    if (n > ROOM) {
      room = new ArrayBuffer(n);
      n = abi.meta(at(k), k.byteLength, at(room), n);
    }
    return text(sized(room, n));
  }

  /** A capture of the trigger; empty when it has none of that name. */
  param(name: string): string {
    const v = this.meta("params." + name);
    return v === null ? "" : v;
  }

  get id(): string { return this.attribute("id"); }
  get source(): string { return this.attribute("source"); }
  get type(): string { return this.attribute("type"); }
  /** The topic of a message, the path of a request. */
  get subject(): string { return this.attribute("subject"); }
  get time(): string { return this.attribute("time"); }
  /** 1 at first. */
  get attempt(): i32 {
    const v = this.meta("attempt");
    return v === null ? 1 : i32.parse(v);
  }

  private attribute(key: string): string {
    const v = this.meta(key);
    return v === null ? "" : v;
  }
}

/** What came back of a fetch. */
export class Response {
  status: i32 = 0;
  url: string = "";
  /** Pairs of a name in lower case and a value. */
  headers: Json = Json.list();
  body: ArrayBuffer = new ArrayBuffer(0);

  header(name: string): string | null {
    const wanted = name.toLowerCase();
    for (let i = 0; i < this.headers.length; i++) {
      if (this.headers.at(i).at(0).string == wanted) return this.headers.at(i).at(1).string;
    }
    return null;
  }

  get text(): string { return String.UTF8.decode(this.body); }
  get json(): Json | null { return Json.parse(this.text); }
}

// page adds the keys of a listing and returns where it goes on.
function page(room: ArrayBuffer, n: i32, keys: string[]): u32 {
  if (n < 4) return 0;
  for (let i = 4; i + 4 <= n;) {
    const length = load<i32>(at(room) + i);
    keys.push(String.UTF8.decodeUnsafe(at(room) + i + 4, length));
    i += 4 + length;
  }
  return load<u32>(at(room));
}

/** What a handler may do. All of it happens when the handler has succeeded, or nothing. */
export class Context {
  /** Fails the event. */
  fail(why: string): void {
    failed = true;
    failure = why;
  }

  /** A stored value as it is; null when there is none. */
  getBytes(key: string): ArrayBuffer | null {
    const k = bytes(key);
    let room = new ArrayBuffer(ROOM);
    let n = abi.kv_get(at(k), k.byteLength, at(room), ROOM);
    if (n > ROOM) {
      room = new ArrayBuffer(n);
      n = abi.kv_get(at(k), k.byteLength, at(room), n);
    }
    return sized(room, n);
  }

  get(key: string): string | null { return text(this.getBytes(key)); }

  /** A stored value decoded; null when there is none or it is no JSON. */
  getJson(key: string): Json | null {
    const v = this.get(key);
    return v === null ? null : Json.parse(v);
  }

  /** Stores a value, for ttl seconds when that is given. */
  set(key: string, value: string, ttl: u32 = 0): i32 { return this.setBytes(key, bytes(value), ttl); }

  setBytes(key: string, value: ArrayBuffer, ttl: u32 = 0): i32 {
    const k = bytes(key);
    return abi.kv_set(at(k), k.byteLength, at(value), value.byteLength, ttl);
  }

  delete(key: string): i32 {
    const k = bytes(key);
    return abi.kv_del(at(k), k.byteLength);
  }

  /** The keys that start with prefix, in order. */
  list(prefix: string = ""): string[] {
    const p = bytes(prefix);
    const keys: string[] = [];
    let cursor: u32 = 0;
    do {
      let room = new ArrayBuffer(4096);
      let n = abi.kv_list(at(p), p.byteLength, cursor, at(room), 4096);
      if (n > 4096) {
        room = new ArrayBuffer(n);
        n = abi.kv_list(at(p), p.byteLength, cursor, at(room), n);
      }
      cursor = page(room, n, keys);
    } while (cursor > 0);
    return keys;
  }

  /** An object's bytes; null with errno when they cannot be had. */
  getObject(bucket: string, key: string): ArrayBuffer | null {
    const k = bytes(bucket + "/" + key);
    let room = new ArrayBuffer(ROOM);
    let n = abi.blob_get(at(k), k.byteLength, at(room), ROOM);
    if (n > ROOM) {
      room = new ArrayBuffer(n);
      n = abi.blob_get(at(k), k.byteLength, at(room), n);
    }
    return sized(room, n);
  }

  /** What a bucket has under a key: digest, size, type and modified; null with errno when there is none. */
  statObject(bucket: string, key: string): Json | null {
    const k = bytes(bucket + "/" + key);
    const room = new ArrayBuffer(1024);
    const v = text(sized(room, abi.blob_stat(at(k), k.byteLength, at(room), 1024)));
    return v === null ? null : Json.parse(v);
  }

  /** Up to length bytes of an object from offset on; null with errno when they cannot be had. */
  readObject(bucket: string, key: string, offset: i64, length: i32): ArrayBuffer | null {
    const k = bytes(bucket + "/" + key);
    const room = new ArrayBuffer(length);
    return sized(room, abi.blob_read(at(k), k.byteLength, offset, at(room), length));
  }

  /** Puts an object; an empty type is that of the key's ending. */
  putObject(bucket: string, key: string, data: ArrayBuffer, type: string = ""): i32 {
    const k = bytes(bucket + "/" + key), t = bytes(type);
    return abi.blob_put_typed(at(k), k.byteLength, at(t), t.byteLength, at(data), data.byteLength);
  }

  deleteObject(bucket: string, key: string): i32 {
    const k = bytes(bucket + "/" + key);
    return abi.blob_delete(at(k), k.byteLength);
  }

  /** The keys of a bucket that start with prefix, in order. */
  listObjects(bucket: string, prefix: string = ""): string[] {
    const p = bytes(bucket + "/" + prefix);
    const keys: string[] = [];
    let cursor: u32 = 0;
    do {
      let room = new ArrayBuffer(4096);
      let n = abi.blob_list(at(p), p.byteLength, cursor, at(room), 4096);
      if (n > 4096) {
        room = new ArrayBuffer(n);
        n = abi.blob_list(at(p), p.byteLength, cursor, at(room), n);
      }
      cursor = page(room, n, keys);
    } while (cursor > 0);
    return keys;
  }

  /** Publishes a message; expiry is in seconds, 0 for never. */
  publish(topic: string, payload: string, qos: u32 = 0, retain: bool = false, expiry: u32 = 0): i32 {
    return this.publishBytes(topic, bytes(payload), qos, retain, expiry);
  }

  publishBytes(topic: string, payload: ArrayBuffer, qos: u32 = 0, retain: bool = false, expiry: u32 = 0): i32 {
    const t = bytes(topic);
    return abi.publish(at(t), t.byteLength, at(payload), payload.byteLength, qos | (retain ? 4 : 0), expiry);
  }

  /** Puts a payload on a queue, to be taken after delay seconds. */
  enqueue(queue: string, payload: string, delay: u32 = 0): i32 {
    const q = bytes(queue), p = bytes(payload);
    return abi.enqueue(at(q), q.byteLength, at(p), p.byteLength, delay);
  }

  /** Starts another function. */
  invoke(name: string, payload: string = ""): i32 {
    const f = bytes(name), p = bytes(payload);
    return abi.invoke(at(f), f.byteLength, at(p), p.byteLength);
  }

  /** Sets the invocation's result. */
  output(value: string): void { this.outputBytes(bytes(value)); }
  outputBytes(value: ArrayBuffer): void { abi.output(at(value), value.byteLength); }

  /** Sets an attribute of the result: datacontenttype, status, header.location. */
  outputMeta(key: string, value: string): i32 {
    const k = bytes(key), v = bytes(value);
    return abi.output_meta(at(k), k.byteLength, at(v), v.byteLength);
  }

  log(message: string, level: Level = Level.Info): void {
    const m = bytes(message);
    abi.log(level, at(m), m.byteLength);
  }

  /** Reports a number to graph. */
  metric(name: string, value: f64): void {
    const n = bytes(name);
    abi.metric(at(n), n.byteLength, value);
  }

  /** A value of the manifest's config; null when there is none. */
  config(key: string): Json | null {
    const k = bytes(key);
    let room = new ArrayBuffer(ROOM);
    let n = abi.config(at(k), k.byteLength, at(room), ROOM);
    if (n > ROOM) {
      room = new ArrayBuffer(n);
      n = abi.config(at(k), k.byteLength, at(room), n);
    }
    const v = text(sized(room, n));
    return v === null ? null : Json.parse(v);
  }

  /** A secret that the manifest declares; null while it is not set, or with errno DENIED. */
  secret(name: string): string | null {
    const k = bytes(name);
    let room = new ArrayBuffer(ROOM);
    let n = abi.secret(at(k), k.byteLength, at(room), ROOM);
    if (n > ROOM) {
      room = new ArrayBuffer(n);
      n = abi.secret(at(k), k.byteLength, at(room), n);
    }
    return text(sized(room, n));
  }

  /** Milliseconds since 1970. Time stands still while a handler computes. */
  now(): i64 { return abi.now_ms(); }

  /** Unpredictable bytes, the same in a rerun. */
  random(n: i32): ArrayBuffer {
    const b = new ArrayBuffer(n);
    abi.random(at(b), n);
    return b;
  }

  /** The value of a sensor that is good and no older than maxAgeMs; NaN with errno, UNAVAILABLE for one that is not. */
  sensorValue(name: string, maxAgeMs: f64 = Infinity): f64 {
    const r = this.sensor(name);
    if (r === null) return NaN;
    const v = r.get("value"), age = r.get("age_ms");
    if (!v.isNumber || !age.isNumber || age.number > maxAgeMs) {
      errno = -6;
      return NaN;
    }
    return v.number;
  }

  /**
   * The latest reading of a sensor: value (only while quality is good), unit, quality, age_ms, at, last, fault, sensor, seq;
   * null with errno when that cannot be had.
   */
  sensor(name: string): Json | null {
    const k = bytes(name);
    const room = new ArrayBuffer(4096);
    const v = text(sized(room, abi.sensor_read(at(k), k.byteLength, at(room), 4096)));
    return v === null ? null : Json.parse(v);
  }

  /** Drives an actuator; returns the milliseconds granted, or an errno. */
  actuate(name: string, value: string, leaseMs: u32): i32 {
    const n = bytes(name), v = bytes(value);
    return abi.actuate(at(n), n.byteLength, at(v), v.byteLength, leaseMs);
  }

  /** Sends an HTTP request; null with errno when there is no answer. Headers are an object of texts. */
  fetch(url: string, method: string = "GET", headers: Json | null = null, body: string | null = null, timeoutMs: u32 = 0): Response | null {
    const head = Json.object().set("url", Json.fromString(url)).set("method", Json.fromString(method));
    if (headers !== null) head.set("headers", headers);
    if (timeoutMs > 0) head.set("timeout_ms", Json.fromNumber(timeoutMs));
    const request = bytes(body === null ? head.toString() : head.toString() + "\n" + body);
    let room = new ArrayBuffer(4096);
    let n = abi.http_fetch(at(request), request.byteLength, at(room), 4096);
    if (n > 4096) {
      room = new ArrayBuffer(n);
      n = abi.http_fetch(at(request), request.byteLength, at(room), n);
    }
    const answer = sized(room, n);
    if (answer === null) return null;
    let end = 0;
    while (end < n && load<u8>(at(answer) + end) != 10) end++;
    const info = Json.parse(String.UTF8.decodeUnsafe(at(answer), end));
    if (info === null) return null;
    const r = new Response();
    r.status = <i32>info.get("status").number;
    r.url = info.get("url").string;
    r.headers = info.get("headers");
    r.body = answer.slice(end + 1);
    return r;
  }
}

/** For the entry file that headgate makes. */
export function result(): i32 {
  if (!failed) return 0;
  const b = bytes(failure);
  abi.error(at(b), b.byteLength);
  return 1;
}

/** What throw and failed assertions end in. */
export function aborted(message: string | null, file: string | null, line: u32, column: u32): void {
  const why = (message === null ? "aborted" : message) + " at " + (file === null ? "?" : file) + ":" + line.toString() + ":" + column.toString();
  const b = bytes(why);
  abi.log(Level.Error, at(b), b.byteLength);
  unreachable();
}
