// A host in memory, to test a function with any JavaScript runtime:
//
//   import handler from "./irrigate.js";
//   import { run } from "./testkit.mjs";
//   const r = await run(handler, { data: { moisture: 20 }, params: { field: "3" }, config: { target: 30 } });
//   assert.deepEqual(r.published, [{ topic: "farm/3/valve", payload: "open", qos: 0, retain: false }]);
//
// Durations in what comes back are seconds. `denied` lists the topics, state
// keys, queues and functions that the permissions do not allow, `secrets` has
// those that the manifest declares, undefined while one is not set. The clock
// stands still at `now` while a handler runs, so run one at a time. Nothing is
// limited here; `headgate test` runs on the real sandbox. `fetch` answers what the
// handler fetches, as (url, options) => new Response(…), and `request` is that of
// an http trigger: { method, path, query, headers };
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

const unsupported = (what) => () => {
  throw new HeadgateError(`${what}: this version of the gateway does not offer it yet`, "UNSUPPORTED");
};

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

function makeContext(r, stored, { config, params, now, denied, secrets, fetch }) {
  const allow = (what, name) => {
    if (denied.includes(name)) throw new HeadgateError(`${what} ${name}: permission denied`, "DENIED");
  };
  const logger = (level) => (...values) => void r.logs.push({ level, text: values.map((v) => (typeof v === "string" ? v : JSON.stringify(v))).join(" ") });
  return {
    config, params, now: () => now,
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
    secret(name) {
      if (!(name in secrets)) throw new HeadgateError(`secret ${name}: permission denied`, "DENIED");
      return secrets[name] ?? undefined;
    },
    metric: (name, value) => void (r.metrics[name] = value),
    actuate: unsupported("actuate"), sensor: unsupported("sensor"), fetch,
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
// published, enqueued, invoked, state, logs and metrics. A failed event asks
// for nothing.
export async function run(handler, { data, text, meta = {}, params = {}, config = {}, state = {}, now = Date.now(), denied = [], secrets = {}, fetch = noFetch, request } = {}) {
  const stored = new Map(Object.entries(structuredClone(state)));
  const r = { output: undefined, error: undefined, published: [], enqueued: [], invoked: [], logs: [], metrics: {} };
  const event = makeEvent({ data, text, meta, params });
  if (request !== undefined) Object.defineProperty(event, "request", { value: makeRequest(request, event) });
  const realFetch = globalThis.fetch;
  globalThis.fetch = async (url, options) => fetch(String(url), options ?? {});
  const startClock = stopClock(now);
  try {
    const output = await handler(event, makeContext(r, stored, { config, params, now, denied, secrets, fetch: globalThis.fetch }));
    if (output instanceof Response) {
      Object.assign(r, { status: output.status, headers: Object.fromEntries(output.headers), output: await output.text() });
    } else if (output !== undefined) r.output = encode(output);
    r.state = Object.fromEntries(stored);
  } catch (e) {
    Object.assign(r, { error: e, published: [], enqueued: [], invoked: [], state: structuredClone(state) });
  } finally {
    startClock();
    globalThis.fetch = realFetch;
  }
  return r;
}
