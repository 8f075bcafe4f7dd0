// A host in memory, to test a function with any JavaScript runtime:
//
//   import handler from "./irrigate.js";
//   import { run } from "./testkit.mjs";
//   const r = await run(handler, { data: { moisture: 20 }, params: { field: "3" }, config: { target: 30 } });
//   assert.deepEqual(r.published, [{ topic: "farm/3/valve", payload: "open", qos: 0, retain: false }]);
//
// Durations in what comes back are seconds. `denied` lists the topics, state
// keys, queues and functions that the permissions do not allow, `secrets` has
// those that the manifest declares, undefined while one is not set, `sensors` the
// readings: a number is a good value. The clock
// stands still at `now` while a handler runs, so run one at a time. Nothing is
// limited here; `headgate test` runs on the real sandbox. `fetch` answers what the
// handler fetches, as (url, options) => new Response(…), and `request` is that of
// an http trigger: { method, path, query, headers };
// `objects` are the objects that there are, as { "camera/1.jpg": bytes or text };
// what a Response holds comes back as status, headers and output.

const bytesOf = (v) => (v instanceof ArrayBuffer ? new Uint8Array(v) : ArrayBuffer.isView(v) ? new Uint8Array(v.buffer, v.byteOffset, v.byteLength) : v);
const encode = (v) => {
  if (v === undefined) return "";
  const b = bytesOf(v);
  return typeof b === "string" || b instanceof Uint8Array ? b : JSON.stringify(b);
};

const units = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400 };

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

class HeadgateError extends Error {
  constructor(message, code) {
    super(message);
    this.name = "HeadgateError";
    this.code = code;
  }
}


function makeEvent({ data, text, meta, params }) {
  const raw = text ?? (data === undefined ? "" : JSON.stringify(data));
  return {
    attempt: 1, ...meta, params, text: () => raw, bytes: () => new TextEncoder().encode(raw),
    meta: (key) => meta[key] ?? (key.startsWith("params.") ? params[key.slice(7)] : undefined),
    get data() {
      try {
        return JSON.parse(raw);
      } catch {
        return this.bytes();
      }
    },
  };
}

// makeObjects keeps objects by bucket/key, each as { bytes, type }.
function makeObjects(all, allow, now) {
  const named = (bucket, key, what) => {
    if (typeof bucket !== "string" || typeof key !== "string") throw new TypeError(`${what}: the bucket or the key is not a string`);
    allow(what, `${bucket}/${key}`);
    return `${bucket}/${key}`;
  };
  const info = ({ bytes, type }) => ({ digest: undefined, size: bytes.length, type, modified: new Date(now).toISOString() });
  const text = (bytes) => new TextDecoder().decode(bytes);
  return {
    get(bucket, key) {
      const o = all.get(named(bucket, key, "objects.get"));
      return o && { ...info(o), bytes: () => o.bytes.slice(), text: () => text(o.bytes), json: () => JSON.parse(text(o.bytes)) };
    },
    stat(bucket, key) {
      const o = all.get(named(bucket, key, "objects.stat"));
      return o && info(o);
    },
    read: (bucket, key, offset, length) => all.get(named(bucket, key, "objects.read"))?.bytes.slice(offset, offset + length),
    put(bucket, key, body, { type } = {}) {
      const name = named(bucket, key, "objects.put");
      if (body === undefined) throw new TypeError("objects.put: the body is undefined; use objects.delete");
      all.set(name, storedObject(body, type));
    },
    delete: (bucket, key) => void all.delete(named(bucket, key, "objects.delete")),
    list: (bucket, prefix = "") => [...all.keys()].filter((k) => k.startsWith(`${bucket}/${prefix}`)).map((k) => k.slice(bucket.length + 1)).sort(),
  };
}

const storedObject = (body, type) => {
  const v = encode(body);
  return { bytes: typeof v === "string" ? new TextEncoder().encode(v) : v, type: type ?? "application/octet-stream" };
};

function makeContext(r, stored, kept, { config, params, now, denied, secrets, sensors, fetch }) {
  const allow = (what, name) => {
    if (denied.includes(name)) throw new HeadgateError(`${what} ${name}: permission denied`, "DENIED");
  };
  const logger = (level) => (...values) => void r.logs.push({ level, text: values.map((v) => (typeof v === "string" ? v : JSON.stringify(v))).join(" ") });
  return {
    config, params, now: () => now, objects: makeObjects(kept, allow, now),
    state: {
      get: (key) => (allow("state.get", key), structuredClone(stored.get(key))),
      set(key, value, { ttl } = {}) {
        allow("state.set", key);
        if (value === undefined) throw new TypeError("state.set: the value is undefined; use state.delete");
        seconds(ttl, "ttl");
        stored.set(key, structuredClone(value));
      },
      delete: (key) => (allow("state.delete", key), void stored.delete(key)),
      list: (prefix = "") => [...stored.keys()].filter((k) => k.startsWith(prefix)).sort(),
    },
    log: { debug: logger("debug"), info: logger("info"), warn: logger("warn"), error: logger("error") },
    publish(topic, payload, { qos = 0, retain = false, expiry } = {}) {
      allow("publish", topic);
      if (![0, 1, 2].includes(qos)) throw new TypeError(`publish: qos ${qos} is not 0, 1 or 2`);
      r.published.push({ topic, payload: encode(payload), qos, retain, ...(expiry && { expiry: seconds(expiry, "expiry") }) });
    },
    enqueue(queue, payload, { delay } = {}) {
      allow("enqueue", queue);
      r.enqueued.push({ queue, payload: encode(payload), ...(delay && { delay: seconds(delay, "delay") }) });
    },
    invoke(name, payload) {
      allow("invoke", name);
      r.invoked.push({ name, payload: encode(payload) });
    },
    actuate(name, value, { lease } = {}) {
      allow("actuate", name);
      r.actuated.push({ name, value: String(value), ...(lease && { lease: seconds(lease, "lease") }) });
      return String(value) === "off" ? 0 : (lease ? seconds(lease, "lease") : 600) * 1000;
    },
    secret(name) {
      if (!(name in secrets)) throw new HeadgateError(`secret ${name}: permission denied`, "DENIED");
      return secrets[name] ?? undefined;
    },
    metric: (name, value) => void (r.metrics[name] = value),
    fetch,
    sensor(name, options) {
      allow("sensor", name);
      const s = sensors[name];
      if (s === undefined) return undefined;
      const r = { quality: "good", age_ms: 0, sensor: name, seq: 1, ...(typeof s === "number" ? { value: s } : s) };
      if (options?.maxAge !== undefined && (r.quality !== "good" || r.age_ms > seconds(options.maxAge, "maxAge") * 1000)) {
        throw new HeadgateError(`sensor ${name}: ${r.quality}, ${r.age_ms / 1000} s old`, "UNAVAILABLE");
      }
      return r;
    },
  };
}

const noFetch = (url) => {
  throw new HeadgateError(`fetch ${url}: give run a fetch, (url, options) => new Response(…), that answers it`, "UNAVAILABLE");
};

// makeRequest is event.request of { method, path, query, headers }.
function makeRequest({ method = "GET", path = "/", query = {}, headers = {}, remote = "192.0.2.1" }, event) {
  const all = new URLSearchParams(query);
  return {
    method, path, remote, params: event.params, queryString: all.toString(), query: Object.fromEntries([...all].reverse()), queries: (name) => all.getAll(name),
    headers: Object.fromEntries(Object.entries(headers).map(([k, v]) => [k.toLowerCase(), v])),
    text: () => event.text(), bytes: () => event.bytes(), json: () => JSON.parse(event.text()),
  };
}

// stopClock makes Date stand still, and returns how to let it go.
function stopClock(now) {
  const real = globalThis.Date;
  globalThis.Date = class Date extends real {
    constructor(...args) {
      super(...(args.length === 0 ? [now] : args));
    }
    static now() {
      return now;
    }
  };
  return () => (globalThis.Date = real);
}

// run gives one event to handler and returns what it asked for: output, error,
// published, enqueued, invoked, actuated, state, objects (bytes by bucket/key), logs and metrics. A failed event asks
// for nothing.
export async function run(handler, { data, text, meta = {}, params = {}, config = {}, state = {}, now = Date.now(), denied = [], secrets = {}, sensors = {}, objects = {}, fetch = noFetch, request } = {}) {
  const before = () => new Map(Object.entries(objects).map(([k, v]) => [k, storedObject(v)]));
  let kept = before();
  const stored = new Map(Object.entries(structuredClone(state)));
  const r = { output: undefined, error: undefined, published: [], enqueued: [], invoked: [], actuated: [], logs: [], metrics: {} };
  const event = makeEvent({ data, text, meta, params });
  if (request !== undefined) Object.defineProperty(event, "request", { value: makeRequest(request, event) });
  const realFetch = globalThis.fetch;
  globalThis.fetch = async (url, options) => fetch(String(url), options ?? {});
  const startClock = stopClock(now);
  try {
    const output = await handler(event, makeContext(r, stored, kept, { config, params, now, denied, secrets, sensors, fetch: globalThis.fetch }));
    if (output instanceof Response) {
      Object.assign(r, { status: output.status, headers: Object.fromEntries(output.headers), output: await output.text() });
    } else if (output !== undefined) r.output = encode(output);
    r.state = Object.fromEntries(stored);
  } catch (e) {
    Object.assign(r, { error: e, published: [], enqueued: [], invoked: [], actuated: [], state: structuredClone(state) });
    kept = before();
  } finally {
    r.objects = Object.fromEntries([...kept].map(([k, o]) => [k, o.bytes]));
    startClock();
    globalThis.fetch = realFetch;
  }
  return r;
}
