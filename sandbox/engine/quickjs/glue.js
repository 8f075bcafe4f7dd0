// The JavaScript side of the border. It runs once, before the clean state is
// taken. Calls to the host go through read(2) of the engine's os module: the
// descriptor is the call's number, arguments wait in `args` and `num`, the
// result comes back in the same places.
import { read } from "headgate:os";

const buffer = new ArrayBuffer(64);
const num = new Float64Array(buffer);
const words = new Uint32Array(buffer);
const args = [];

const call = {
  input: 1001, meta: 1002, log: 1003, now: 1004, random: 1005, config: 1006,
  get: 1007, set: 1008, del: 1009, list: 1010, publish: 1011, enqueue: 1012,
  invoke: 1013, metric: 1014, output: 1015, error: 1016,
  secret: 1017, sensor: 1018, actuate: 1019, fetch: 1020,
  encode: 1021, decode: 1022,
  objectGet: 1023, objectRead: 1024, objectPut: 1025, objectStat: 1026, objectDelete: 1027, objectList: 1028,
};

class HeadgateError extends Error {
  constructor(message, code) {
    super(message);
    this.code = code;
  }
}
Object.defineProperty(HeadgateError.prototype, "name", { value: "HeadgateError" });

const codes = { "-1": "NOT_FOUND", "-2": "DENIED", "-3": "LIMIT", "-4": "INVALID", "-5": "UNSUPPORTED", "-6": "UNAVAILABLE" };

function host(op, a, b, x, y) {
  args[0] = a;
  args[1] = b;
  num[0] = x ?? 0;
  num[1] = y ?? 0;
  read(op, buffer, 0, 64);
  const rc = num[0];
  if (rc < -1) throw new HeadgateError(args[0], codes[rc] ?? String(rc));
  return rc;
}

const isBytes = (v) => v instanceof Uint8Array;

// encode turns a payload into a string or bytes: those as they are, the rest as JSON.
function encode(v) {
  if (v === undefined || v === null) return v === null ? "null" : "";
  if (typeof v === "string" || isBytes(v)) return v;
  if (v instanceof ArrayBuffer) return new Uint8Array(v);
  if (ArrayBuffer.isView(v)) return new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
  return JSON.stringify(v) ?? "";
}

// stored is encode for state, where a string must come back as a string.
const stored = (v) => (typeof v === "string" ? JSON.stringify(v) : encode(v));

// decode takes a string or bytes from the host: JSON where it is JSON.
function decode(v) {
  if (typeof v !== "string") return v;
  try {
    return JSON.parse(v);
  } catch {
    return undefined;
  }
}

const units = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };

// seconds reads 90, "90s", "20m" or "1h30m".
function seconds(v, what) {
  if (v === undefined || v === null) return 0;
  let n = v;
  if (typeof v === "string" && /^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(v)) {
    n = 0;
    for (const [, value, , unit] of v.matchAll(/(\d+(\.\d+)?)(ms|s|m|h|d)/g)) n += value * units[unit];
  }
  if (typeof n !== "number" || !(n >= 0) || n > 4294967295) {
    throw new TypeError(`${what}: ${JSON.stringify(v)} is not a duration: write seconds or "20m"`);
  }
  return Math.ceil(n);
}

const name = (v, what) => {
  if (typeof v !== "string") throw new TypeError(`${what} is not a string`);
  return v;
};

const state = Object.freeze({
  get(key) {
    if (host(call.get, name(key, "state.get: the key")) < 0) return undefined;
    const raw = args[0];
    const value = decode(raw);
    if (value !== undefined || typeof raw !== "string") return value;
    host(call.get, key, undefined, 1);
    return args[0];
  },
  set(key, value, options) {
    if (value === undefined) throw new TypeError("state.set: the value is undefined; use state.delete");
    host(call.set, name(key, "state.set: the key"), stored(value), seconds(options?.ttl, "ttl"));
  },
  delete(key) {
    host(call.del, name(key, "state.delete: the key"));
  },
  list(prefix = "") {
    const keys = [];
    let cursor = 0;
    do {
      cursor = host(call.list, name(prefix, "state.list: the prefix"), undefined, cursor);
      for (const k of JSON.parse(args[0])) keys.push(k);
    } while (cursor > 0);
    return keys;
  },
});

const named = (bucket, key, what) => `${name(bucket, `${what}: the bucket`)}/${name(key, `${what}: the key`)}`;

// StoredObject is what a bucket has under a key.
class StoredObject {
  #content;
  constructor(about, content) {
    Object.assign(this, JSON.parse(about));
    this.#content = content;
  }
  bytes() { return this.#content; }
  text() {
    host(call.decode, this.#content);
    return args[0];
  }
  json() { return JSON.parse(this.text()); }
}

const objects = Object.freeze({
  get(bucket, key) {
    if (host(call.objectGet, named(bucket, key, "objects.get")) < 0) return undefined;
    if (args[0] === undefined) throw new RangeError(`objects.get: ${bucket}/${key} does not fit into the function's memory: use objects.read, or raise limits.memory`);
    return new StoredObject(args[1], args[0]);
  },
  stat(bucket, key) {
    return host(call.objectStat, named(bucket, key, "objects.stat")) < 0 ? undefined : JSON.parse(args[0]);
  },
  read(bucket, key, offset, length) {
    return host(call.objectRead, named(bucket, key, "objects.read"), undefined, offset, length) < 0 ? undefined : args[0];
  },
  put(bucket, key, body, options) {
    const what = named(bucket, key, "objects.put");
    if (body === undefined) throw new TypeError("objects.put: the body is undefined; use objects.delete");
    const plain = typeof body === "string" || body instanceof ArrayBuffer || ArrayBuffer.isView(body);
    host(call.objectPut, `${what}\0${options?.type ?? (plain ? "" : "application/json")}`, encode(body));
  },
  delete(bucket, key) {
    host(call.objectDelete, named(bucket, key, "objects.delete"));
  },
  list(bucket, prefix = "") {
    const keys = [];
    let cursor = 0;
    do {
      cursor = host(call.objectList, named(bucket, prefix, "objects.list"), undefined, cursor);
      for (const k of JSON.parse(args[0])) keys.push(k);
    } while (cursor > 0);
    return keys;
  },
});

function publish(topic, payload, options) {
  const qos = options?.qos ?? 0;
  if (qos !== 0 && qos !== 1 && qos !== 2) throw new TypeError(`publish: qos ${qos} is not 0, 1 or 2`);
  host(call.publish, name(topic, "publish: the topic"), encode(payload), qos | (options?.retain ? 4 : 0), seconds(options?.expiry, "expiry"));
}

const enqueue = (queue, payload, options) => {
  host(call.enqueue, name(queue, "enqueue: the queue"), encode(payload), seconds(options?.delay, "delay"));
};
const invoke = (target, payload) => {
  host(call.invoke, name(target, "invoke: the function"), encode(payload));
};
// actuate returns the milliseconds that are granted.
const actuate = (target, value, options) => {
  const granted = host(call.actuate, name(target, "actuate: the name"), String(value), seconds(options?.lease, "lease"));
  if (granted < 0) throw new HeadgateError(`actuate ${target}: the gateway has no such actuator`, "NOT_FOUND");
  return granted;
};
const metric = (key, value) => {
  if (typeof value !== "number") throw new TypeError("metric: the value is not a number");
  host(call.metric, name(key, "metric: the name"), undefined, value);
};

function show(v) {
  if (typeof v === "string") return v;
  if (v instanceof Error) return where(v);
  if (typeof v === "function") return `[function ${v.name}]`;
  try {
    return JSON.stringify(v) ?? String(v);
  } catch {
    return String(v);
  }
}
const logger = (level) => (...values) => {
  host(call.log, values.map(show).join(" "), undefined, level);
};
const log = Object.freeze({ debug: logger(0), info: logger(1), warn: logger(2), error: logger(3) });
globalThis.console = Object.freeze({ ...log, log: log.info, trace: log.debug });

const secret = (key) => (host(call.secret, name(key, "secret: the name")) < 0 ? undefined : args[0]);
// sensor is the latest reading; with maxAge one that is good and no older.
const sensor = (key, options) => {
  if (host(call.sensor, name(key, "sensor: the name")) < 0) return undefined;
  const r = JSON.parse(args[0]);
  if (options?.maxAge !== undefined && (r.quality !== "good" || r.age_ms > seconds(options.maxAge, "maxAge") * 1000)) {
    throw new HeadgateError(`sensor ${key}: ${r.quality}, ${r.age_ms / 1000} s old${r.fault ? `: ${r.fault}` : ""}`, "UNAVAILABLE");
  }
  return r;
};
const noTimers = (what) => () => {
  throw new TypeError(`${what} is not available: a handler ends with its event; use enqueue with a delay`);
};
for (const what of ["setTimeout", "setInterval", "setImmediate"]) globalThis[what] = noTimers(what);

const deepFreeze = (v) => {
  if (v !== null && typeof v === "object") Object.values(v).forEach(deepFreeze);
  return Object.freeze(v);
};

const context = {
  state, objects, publish, enqueue, invoke, log, metric,
  now: () => Date.now(),
  actuate,
  secret,
  fetch: (...options) => hub.web.fetch(...options),
  sensor,
  get params() {
    return current.params;
  },
};
// Clones of one clean state would share the engine's generator, so random is
// a small fast one (sfc32) that each invocation seeds from the host.
let s0 = 0, s1 = 0, s2 = 0, s3 = 0, seeded = false;
function seed() {
  host(call.random);
  s0 = words[4] | 0;
  s1 = words[5] | 0;
  s2 = words[6] | 0;
  s3 = words[7] | 0;
  seeded = true;
}
function next() {
  if (!seeded) seed();
  const t = (((s0 + s1) | 0) + s3) | 0;
  s3 = (s3 + 1) | 0;
  s0 = s1 ^ (s1 >>> 9);
  s1 = (s2 + (s2 << 3)) | 0;
  s2 = (s2 << 21) | (s2 >>> 11);
  s2 = (s2 + t) | 0;
  return t >>> 0;
}
Math.random = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
globalThis.crypto = Object.freeze({
  getRandomValues(view) {
    host(call.random, new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
    return view;
  },
  randomUUID() {
    const b = crypto.getRandomValues(new Uint8Array(16));
    b[6] = (b[6] & 15) | 64;
    b[8] = (b[8] & 63) | 128;
    const h = Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
    return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
  },
});

const meta = (key) => (host(call.meta, key) < 0 ? undefined : args[0]);

class Event {
  #data;
  #decoded = false;
  #params;
  #request;
  get id() { return meta("id"); }
  get source() { return meta("source"); }
  get type() { return meta("type"); }
  get subject() { return meta("subject"); }
  get time() { return meta("time"); }
  get datacontenttype() { return meta("datacontenttype"); }
  get attempt() { return Number(meta("attempt") ?? 1); }
  meta(key) { return meta(name(key, "event.meta: the key")); }
  bytes() {
    host(call.input, undefined, undefined, 1);
    return args[0];
  }
  text() {
    host(call.input, undefined, undefined, 2);
    return args[0];
  }
  get data() {
    if (!this.#decoded) {
      host(call.input);
      const value = decode(args[0]);
      this.#data = value === undefined ? this.bytes() : value;
      this.#decoded = true;
    }
    return this.#data;
  }
  get params() {
    return (this.#params ??= Object.freeze(JSON.parse(meta("params") ?? "{}")));
  }
  // request is there for events that came by HTTP.
  get request() {
    const method = meta("httpmethod");
    if (method === undefined) return undefined;
    return (this.#request ??= Object.freeze(requestOf(this, method)));
  }
}

const unescaped = (s) => {
  try {
    return decodeURIComponent(s.replace(/\+/g, " "));
  } catch {
    return s;
  }
};

function requestOf(event, method) {
  const queryString = meta("httpquery") ?? "";
  const all = queryString.split("&").filter((p) => p !== "").map((p) => {
    const i = p.indexOf("=");
    return i < 0 ? [unescaped(p), ""] : [unescaped(p.slice(0, i)), unescaped(p.slice(i + 1))];
  });
  return {
    method, path: event.subject, queryString,
    query: Object.freeze(Object.fromEntries(all.toReversed())), // the first of several
    queries: (key) => all.filter(([k]) => k === key).map(([, v]) => v),
    headers: Object.freeze(JSON.parse(meta("httpheaders") ?? "{}")),
    remote: meta("httpremote"), params: event.params,
    text: () => event.text(), bytes: () => event.bytes(), json: () => JSON.parse(event.text()),
  };
}

// where is an error with the place in the author's file.
function where(e) {
  if (!(e instanceof Error)) return `thrown: ${show(e)}`;
  const frames = String(e.stack ?? "").split("\n").map((l) => l.trim().replace(/^at /, ""))
    .filter((l) => l !== "" && !l.includes("headgate:") && !l.includes("(native)")).slice(0, 3);
  return `${e.name}: ${e.message}` + (frames.length > 0 ? ` at ${frames.join(" < ")}` : "");
}

let handler;
let current;
let settled;
let failure;

// gatewayReply is Lambda's answer to an HTTP request, in parts.
function gatewayReply(result) {
  if (!Number.isInteger(result?.statusCode) || meta("httpmethod") === undefined) return undefined;
  const headers = Object.entries(result.headers ?? {});
  for (const [name, values] of Object.entries(result.multiValueHeaders ?? {})) for (const v of values) headers.push([name, v]);
  for (const cookie of result.cookies ?? []) headers.push(["set-cookie", cookie]);
  let body = result.body ?? "";
  if (result.isBase64Encoded) body = Uint8Array.from(atob(body), (c) => c.charCodeAt(0));
  return { status: result.statusCode, headers, body };
}

// answer tells the gateway of a reply with a status and headers.
function answer({ status, headers, body }) {
  let about = `status\0${status}`;
  let seen;
  for (let i = 0; i < headers.length; i++) {
    const name = String(headers[i][0]).toLowerCase(), value = String(headers[i][1]);
    if (name.includes("\0") || value.includes("\0")) throw new TypeError(`the header ${JSON.stringify(name)} holds a NUL`);
    if (headers.length > 1) {
      seen ??= new Map();
      seen.set(name, seen.has(name) ? `${seen.get(name)}\n${value}` : value);
    } else about += described(name, value);
  }
  seen?.forEach((value, name) => { about += described(name, value); });
  host(call.output, encode(body), about);
}
const described = (name, value) => (name === "content-type" ? "\0datacontenttype\0" : `\0header.${name}\0`) + value;

const asJSON = "datacontenttype\0application/json";

function succeed(result) {
  settled = true;
  if (result === undefined) return;
  const reply = typeof result === "object" ? hub.web?.reply(result) ?? gatewayReply(result) : undefined;
  if (reply !== undefined) return answer(reply);
  host(call.output, encode(result), typeof result === "string" || isBytes(result) ? undefined : asJSON);
}
function fail(error) {
  settled = true;
  failure = true;
  host(call.error, where(error));
}

const hub = (globalThis.__headgate = {
  args, host, call, meta, seconds, isBytes, where,
  // adopt takes the author's module.
  adopt(exports) {
    const f = [exports.default, exports.handle, exports.default?.handle].find((f) => typeof f === "function") ?? hub.adapt?.(exports);
    if (typeof f !== "function") {
      throw new TypeError("the module exports no handler: write export default (event, ctx) => { … }, export function handle(event, ctx), or exports.handler = async (event, context) => { … }");
    }
    handler = f;
    host(call.config);
    context.config = deepFreeze(JSON.parse(args[0]));
    Object.freeze(context);
    delete globalThis.__headgate;
  },
  // run starts the handler: 0 done, 1 failed, 2 waiting for promises.
  run() {
    seeded = settled = failure = false;
    current = new Event();
    try {
      const result = handler(current, context);
      if (typeof result?.then === "function") {
        result.then(succeed).then(undefined, fail);
      } else succeed(result);
    } catch (e) {
      fail(e);
    }
    return settled ? (failure ? 1 : 0) : 2;
  },
  // finish is asked when no promise job is left.
  finish() {
    if (!settled) {
      host(call.error, "the handler returned a promise that never settles");
      return 1;
    }
    return failure ? 1 : 0;
  },
});
