// A host in memory, to test a function's own module with Node:
//
//   import { compile, run } from "./testkit.mjs"; // beside assembly/
//   const irrigate = await compile("irrigate.ts");
//   const r = await run(irrigate, { data: { moisture: 20 }, params: { field: "3" }, config: { target: 30 } });
//   assert.deepEqual(r.published, [{ topic: "farm/3/valve", payload: "open", qos: 0, retain: false }]);
//
// Every run starts from a new instance. Durations in what comes back are
// seconds. `denied` lists the topics, state keys, queues, functions and objects
// (bucket/key) that the permissions do not allow, `secrets` has those that the
// manifest declares, undefined while one is not set, `sensors` the readings: a number
// is a good value. What is stored is text, or
// what its JSON says. `fetch` answers what the handler fetches, at once:
// ({ url, method, headers, body }) => ({ status, headers, body }). Nothing is limited
// here; `headgate test` runs on the real sandbox.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const NOT_FOUND = -1, DENIED = -2, INVALID = -4, UNSUPPORTED = -5, UNAVAILABLE = -6;
const utf8 = new TextEncoder(), text = (b) => new TextDecoder().decode(b);
const bytesOf = (v) => (v instanceof Uint8Array ? v : utf8.encode(typeof v === "string" ? v : JSON.stringify(v)));
const decoded = (b) => {
  try {
    return JSON.parse(text(b));
  } catch {
    return text(b);
  }
};

const entry = (name) => `import { handle } from "./src/${name}";
import { Event, Context, result } from "headgate";
const event = new Event(), context = new Context();
export function headgate_handle(): i32 {
  handle(event, context);
  return result();
}
`;

// compile builds a function with the project's own compiler, as headgate does.
export async function compile(main, { asc = "node_modules/.bin/asc" } = {}) {
  const dir = await mkdtemp(join(tmpdir(), "headgate-testkit-"));
  try {
    const sdk = join(dirname(fileURLToPath(import.meta.url)), "assembly");
    await symlink(dirname(resolve(main)), join(dir, "src"));
    await symlink(sdk, join(dir, "headgate"));
    await writeFile(join(dir, "entry.ts"), entry(basename(main, ".ts")));
    const args = ["entry.ts", "--lib", ".", "--runtime", "stub", "--noAssert", "--initialMemory", "2",
      "--use", "abort=~lib/headgate/index/aborted", "--outFile", "f.wasm"];
    await promisify(execFile)(resolve(asc), args, { cwd: dir });
    return new WebAssembly.Module(await readFile(join(dir, "f.wasm")));
  } finally {
    await rm(dir, { recursive: true });
  }
}

// World is what one event finds, and what it asks for.
class World {
  constructor({ data, text: raw, meta = {}, params = {}, config = {}, state = {}, now = Date.now(), denied = [], secrets = {}, sensors = {}, objects = {}, fetch }) {
    const entries = (o, make) => new Map(Object.entries(o).map(([k, v]) => [k, make(v)]));
    Object.assign(this, { meta, params, config, now, denied, secrets, sensors, fetch, failure: "" });
    this.input = utf8.encode(raw ?? (data === undefined ? "" : JSON.stringify(data)));
    this.stored = entries(state, bytesOf);
    this.kept = entries(objects, (v) => ({ bytes: bytesOf(v), type: "application/octet-stream" }));
    this.r = { output: undefined, error: undefined, meta: {}, published: [], enqueued: [], invoked: [], actuated: [], logs: [], metrics: {} };
  }

  // bytes is a copy of the guest's memory.
  bytes(p, n) {
    return new Uint8Array(this.memory.buffer, p >>> 0, n >>> 0).slice();
  }

  text(p, n) {
    return text(this.bytes(p, n));
  }

  // give answers a call that reads.
  give(value, dst, room) {
    if (typeof value === "number") return value;
    if (value === undefined) return NOT_FOUND;
    const b = bytesOf(value);
    new Uint8Array(this.memory.buffer).set(b.subarray(0, Math.min(room >>> 0, b.length)), dst >>> 0);
    return b.length;
  }

  // allowed runs a call whose name nobody denies.
  allowed(name, call) {
    if (name === "") return INVALID;
    return this.denied.includes(name) ? DENIED : (call() ?? 0);
  }

  attribute(key) {
    return key === "params" ? this.params : (this.meta[key] ?? (key.startsWith("params.") ? this.params[key.slice(7)] : undefined));
  }

  secret(name) {
    return name in this.secrets ? this.secrets[name] : DENIED;
  }

  // reading is that of a sensor: a number is a good value.
  reading(name) {
    const s = this.sensors[name];
    return s === undefined ? s : { ...(typeof s === "number" ? { value: s } : s), quality: s.quality ?? "good", age_ms: s.age_ms ?? 0, sensor: name, seq: 1 };
  }

  object(name, call) {
    return this.allowed(name, () => (this.kept.has(name) ? call(this.kept.get(name)) : NOT_FOUND));
  }

  request(raw) {
    if (this.fetch === undefined) return UNAVAILABLE;
    const end = raw.indexOf(10), head = JSON.parse(text(end < 0 ? raw : raw.subarray(0, end)));
    const { status = 200, headers = {}, body = "" } = this.fetch({ ...head, body: end < 0 ? "" : text(raw.subarray(end + 1)) });
    return `${JSON.stringify({ status, url: head.url, headers: Object.entries(headers) })}\n${text(bytesOf(body))}`;
  }
}

// page is one of kv_list and blob_list: no further one, then each key with its
// length.
function page(keys) {
  const parts = keys.sort().map((k) => utf8.encode(k));
  const b = new Uint8Array(4 + parts.reduce((n, p) => n + 4 + p.length, 0)), view = new DataView(b.buffer);
  let at = 4;
  for (const p of parts) {
    view.setUint32(at, p.length, true);
    b.set(p, at + 4);
    at += 4 + p.length;
  }
  return b;
}

// calls are the imports of headgate_v1.
function calls(w) {
  const { r, stored, kept } = w;
  const put = (k, kl, t, tl, p, n) => w.allowed(w.text(k, kl), () => void kept.set(w.text(k, kl), { bytes: w.bytes(p, n), type: w.text(t, tl) || "application/octet-stream" }));
  const levels = ["debug", "info", "warn", "error"];
  return {
    input_len: () => w.input.length, input_read: (dst, room) => w.give(w.input, dst, room),
    output: (p, n) => void (r.output = w.text(p, n)),
    output_meta: (k, kl, v, vl) => ((r.meta[w.text(k, kl)] = w.text(v, vl)), 0),
    error: (p, n) => void (w.failure = w.text(p, n)),
    meta: (k, kl, dst, room) => w.give(w.attribute(w.text(k, kl)), dst, room),
    log: (level, p, n) => void r.logs.push({ level: levels[level] ?? "error", text: w.text(p, n) }),
    now_ms: () => BigInt(w.now), random: (dst, n) => void crypto.getRandomValues(new Uint8Array(w.memory.buffer, dst >>> 0, n >>> 0)),
    config(k, kl, dst, room) {
      const v = w.config[w.text(k, kl)];
      return w.give(v === undefined ? v : JSON.stringify(v), dst, room);
    },
    secret: (k, kl, dst, room) => w.give(w.secret(w.text(k, kl)), dst, room),
    kv_get: (k, kl, dst, room) => w.allowed(w.text(k, kl), () => w.give(stored.get(w.text(k, kl)), dst, room)),
    kv_set: (k, kl, v, vl) => w.allowed(w.text(k, kl), () => void stored.set(w.text(k, kl), w.bytes(v, vl))),
    kv_del: (k, kl) => w.allowed(w.text(k, kl), () => void stored.delete(w.text(k, kl))),
    kv_list: (p, pl, _, dst, room) => w.give(page([...stored.keys()].filter((k) => k.startsWith(w.text(p, pl)))), dst, room),
    publish: (t, tl, p, n, flags, expiry) => w.allowed(w.text(t, tl), () => {
      if ((flags & 3) === 3) return INVALID;
      r.published.push({ topic: w.text(t, tl), payload: w.text(p, n), qos: flags & 3, retain: (flags & 4) !== 0, ...(expiry && { expiry: expiry >>> 0 }) });
    }),
    enqueue: (q, ql, p, n, delay) => w.allowed(w.text(q, ql), () => void r.enqueued.push({ queue: w.text(q, ql), payload: w.text(p, n), ...(delay && { delay: delay >>> 0 }) })),
    invoke: (f, fl, p, n) => w.allowed(w.text(f, fl), () => void r.invoked.push({ name: w.text(f, fl), payload: w.text(p, n) })),
    sensor_read: (k, kl, dst, room) => w.allowed(w.text(k, kl), () => w.give(w.reading(w.text(k, kl)), dst, room)),
    actuate: (n, nl, v, vl, lease) => {
      const value = w.text(v, vl);
      const rc = w.allowed(w.text(n, nl), () => void r.actuated.push({ name: w.text(n, nl), value, ...(lease && { lease: lease >>> 0 }) }));
      return rc < 0 ? rc : value === "off" ? 0 : lease || 600_000;
    },
    metric: (k, kl, value) => void (r.metrics[w.text(k, kl)] = value),
    blob_get: (k, kl, dst, room) => w.object(w.text(k, kl), (o) => w.give(o.bytes, dst, room)),
    blob_stat: (k, kl, dst, room) => w.object(w.text(k, kl), (o) => w.give({ size: o.bytes.length, type: o.type, modified: new Date(w.now).toISOString() }, dst, room)),
    blob_read: (k, kl, offset, dst, room) => w.object(w.text(k, kl), (o) => w.give(o.bytes.slice(Number(offset), Number(offset) + room), dst, room)),
    blob_put: (k, kl, p, n) => put(k, kl, 0, 0, p, n), blob_put_typed: put,
    blob_delete: (k, kl) => w.allowed(w.text(k, kl), () => void kept.delete(w.text(k, kl))),
    blob_list(p, pl, _, dst, room) {
      const prefix = w.text(p, pl), bucket = prefix.indexOf("/") + 1;
      return w.give(page([...kept.keys()].filter((k) => k.startsWith(prefix)).map((k) => k.slice(bucket))), dst, room);
    },
    http_fetch: (p, n, dst, room) => w.give(w.request(w.bytes(p, n)), dst, room),
  };
}

// run gives one event to a module of compile and returns what it asked for:
// output and its attributes as meta, error, published, enqueued, invoked, actuated, state,
// objects, logs and metrics. A failed event asks for nothing.
export async function run(module, options = {}) {
  const w = new World(options), { r } = w;
  let failed;
  try {
    const { exports } = await WebAssembly.instantiate(module, {
      headgate_v1: new Proxy(calls(w), { get: (all, name) => all[name] ?? (() => UNSUPPORTED) }),
    }).then((instance) => ((w.memory = instance.exports.memory), instance));
    if (exports.headgate_handle() !== 0) failed = new Error(w.failure || "the handler failed");
  } catch (e) {
    failed = w.failure === "" ? e : new Error(w.failure);
  }
  if (failed !== undefined) {
    const before = new World(options);
    Object.assign(r, { error: failed, output: undefined, meta: {}, published: [], enqueued: [], invoked: [], actuated: [] });
    Object.assign(w, { stored: before.stored, kept: before.kept });
  }
  r.state = Object.fromEntries([...w.stored].map(([k, b]) => [k, decoded(b)]));
  r.objects = Object.fromEntries([...w.kept].map(([k, o]) => [k, o.bytes]));
  return r;
}
