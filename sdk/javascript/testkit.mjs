// A host in memory, to test a function with any JavaScript runtime:
//
//   import handler from "./irrigate.js";
//   import { run } from "./testkit.mjs";
//   const r = await run(handler, { data: { moisture: 20 }, params: { field: "3" }, config: { target: 30 } });
//   assert.deepEqual(r.published, [{ topic: "farm/3/valve", payload: "open", qos: 0, retain: false }]);
//
// Nothing is limited or denied here; `headgate test` runs on the real sandbox.

const encode = (v) => (v === undefined ? "" : typeof v === "string" || v instanceof Uint8Array ? v : JSON.stringify(v));

export async function run(handler, { data, text, meta = {}, params = {}, config = {}, state = {}, now = Date.now() } = {}) {
  const stored = new Map(Object.entries(state));
  const r = { output: undefined, error: undefined, published: [], enqueued: [], invoked: [], logs: [], metrics: {} };
  const raw = text ?? (data === undefined ? "" : JSON.stringify(data));
  const event = {
    ...meta, attempt: 1, params, text: () => raw, bytes: () => new TextEncoder().encode(raw),
    meta: (key) => meta[key] ?? (key.startsWith("params.") ? params[key.slice(7)] : undefined),
    get data() {
      try {
        return JSON.parse(raw);
      } catch {
        return this.bytes();
      }
    },
  };
  const logger = (level) => (...values) => void r.logs.push({ level, text: values.map((v) => (typeof v === "string" ? v : JSON.stringify(v))).join(" ") });
  const unsupported = (what) => () => {
    throw Object.assign(new Error(`${what}: this version of the gateway does not offer it yet`), { name: "HeadgateError", code: "UNSUPPORTED" });
  };
  const ctx = {
    config, params, now: () => now,
    state: {
      get: (key) => stored.get(key),
      set: (key, value) => void stored.set(key, value),
      delete: (key) => void stored.delete(key),
      list: (prefix = "") => [...stored.keys()].filter((k) => k.startsWith(prefix)).sort(),
    },
    log: { debug: logger("debug"), info: logger("info"), warn: logger("warn"), error: logger("error") },
    publish: (topic, payload, { qos = 0, retain = false, expiry } = {}) => void r.published.push({ topic, payload: encode(payload), qos, retain, ...(expiry && { expiry }) }),
    enqueue: (queue, payload, { delay } = {}) => void r.enqueued.push({ queue, payload: encode(payload), ...(delay && { delay }) }),
    invoke: (name, payload) => void r.invoked.push({ name, payload: encode(payload) }),
    metric: (name, value) => void (r.metrics[name] = value),
    actuate: unsupported("actuate"), secret: unsupported("secret"), sensor: unsupported("sensor"), fetch: unsupported("fetch"),
  };
  try {
    const output = await handler(event, ctx);
    if (output !== undefined) r.output = encode(output);
  } catch (e) {
    r.error = e;
    r.published = [];
    r.enqueued = [];
    r.invoked = [];
  }
  r.state = Object.fromEntries(stored);
  return r;
}
