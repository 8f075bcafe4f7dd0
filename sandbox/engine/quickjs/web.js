// What scripts know from browsers and servers: fetch, Headers, Request,
// Response, URL, URLSearchParams, TextEncoder and TextDecoder. It is loaded for
// scripts that name one of them, so that the others' clean state stays small.
const { host, call, args, seconds, isBytes } = globalThis.__headgate;

const utf8 = (text) => (host(call.encode, text), args[0]);
const text = (bytes) => (host(call.decode, bytes), args[0]);
const bytesOf = (v) => (v instanceof ArrayBuffer ? new Uint8Array(v) : new Uint8Array(v.buffer, v.byteOffset, v.byteLength));

class TextEncoder {
  get encoding() { return "utf-8"; }
  encode(s = "") { return utf8(String(s)); }
  encodeInto(s, into) {
    let read = 0, written = 0;
    for (const c of String(s)) {
      const b = utf8(c);
      if (written + b.length > into.length) break;
      into.set(b, written);
      written += b.length;
      read += c.length;
    }
    return { read, written };
  }
}

class TextDecoder {
  #fatal;
  constructor(label = "utf-8", { fatal = false } = {}) {
    if (!/^(utf-?8|unicode-1-1-utf-8)$/i.test(String(label).trim())) throw new RangeError(`TextDecoder: ${label} is not known, only utf-8`);
    this.#fatal = fatal;
  }
  get encoding() { return "utf-8"; }
  decode(v = new Uint8Array()) {
    const b = bytesOf(v);
    if (host(call.decode, b) > 0 && this.#fatal) throw new TypeError("TextDecoder: the bytes are not UTF-8");
    return args[0].charCodeAt(0) === 0xfeff ? args[0].slice(1) : args[0];
  }
}

const pairsOf = (init) => {
  if (init === undefined || init === null) return [];
  if (typeof init[Symbol.iterator] === "function" && typeof init !== "string") return [...init];
  return Object.entries(init);
};

// names are the names of headers as they are looked for: what was checked once
// is not checked again, and these are checked while the glue is loaded.
const names = new Map();
for (const n of ["accept", "authorization", "cache-control", "content-encoding", "content-length", "content-type", "etag", "idempotency-key",
  "if-match", "if-none-match", "last-modified", "location", "retry-after", "set-cookie", "user-agent", "vary", "www-authenticate"]) names.set(n, n);
names.set("Content-Type", "content-type");

function headerName(given) {
  const known = names.get(given);
  if (known !== undefined) return known;
  const name = String(given).toLowerCase();
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) throw new TypeError(`Headers: ${JSON.stringify(name)} is not the name of a header`);
  names.set(name, name);
  return name;
}

const space = (c) => c === 32 || c === 9 || c === 10 || c === 13;

function headerValue(value) {
  value = String(value);
  let from = 0, to = value.length;
  while (from < to && space(value.charCodeAt(from))) from++;
  while (from < to && space(value.charCodeAt(to - 1))) to--;
  if (to - from < value.length) value = value.slice(from, to);
  if (value.includes("\n") || value.includes("\r") || value.includes("\0")) throw new TypeError("Headers: a value holds a line break");
  return value;
}

class Headers {
  #list = [];
  constructor(init) {
    if (init === undefined) return;
    if (init instanceof Headers) this.#list = init.#list.slice();
    else for (const [name, value] of pairsOf(init)) this.append(name, value);
  }
  // peek is the list for the host: names in lower case, a pair for each value.
  static peek(h) { return h.#list; }
  append(name, value) { this.#list.push([headerName(name), headerValue(value)]); }
  set(name, value) {
    if (this.#list.length > 0) this.delete(name);
    this.append(name, value);
  }
  delete(name) {
    name = headerName(name);
    this.#list = this.#list.filter((p) => p[0] !== name);
  }
  has(name) {
    name = headerName(name);
    for (let i = 0; i < this.#list.length; i++) if (this.#list[i][0] === name) return true;
    return false;
  }
  get(name) {
    name = headerName(name);
    const values = this.#list.filter(([n]) => n === name).map(([, v]) => v);
    return values.length === 0 ? null : values.join(", ");
  }
  getSetCookie() { return this.#list.filter(([n]) => n === "set-cookie").map(([, v]) => v); }
  *entries() {
    for (const name of [...new Set(this.#list.map(([n]) => n))].sort()) {
      if (name === "set-cookie") for (const v of this.getSetCookie()) yield [name, v];
      else yield [name, this.get(name)];
    }
  }
  *keys() { for (const [n] of this.entries()) yield n; }
  *values() { for (const [, v] of this.entries()) yield v; }
  [Symbol.iterator]() { return this.entries(); }
  forEach(f, self) { for (const [n, v] of this.entries()) f.call(self, v, n, this); }
  toJSON() { return Object.fromEntries(this.entries()); }
}

// typed are headers with a content-type, of the body's own where they name none.
function typed(init, type) {
  const headers = new Headers(init);
  if (type !== undefined && (init === undefined || !headers.has("content-type"))) Headers.peek(headers).push(["content-type", type]);
  return headers;
}

// bodyOf is a body as a string or bytes, and the type that it has by itself.
function bodyOf(v, what) {
  if (v === undefined || v === null) return [undefined];
  if (typeof v === "string") return [v, "text/plain;charset=UTF-8"];
  if (v instanceof URLSearchParams) return [v.toString(), "application/x-www-form-urlencoded;charset=UTF-8"];
  if (v instanceof ArrayBuffer || ArrayBuffer.isView(v)) return [bytesOf(v).slice()];
  throw new TypeError(`${what}: the body is ${Array.isArray(v) ? "an array" : `of type ${typeof v}`}: pass a string, bytes or URLSearchParams, or JSON.stringify it`);
}

class Body {
  #body;
  #used = false;
  constructor(body) { this.#body = body; }
  get bodyUsed() { return this.#used; }
  #take() {
    if (this.#used) throw new TypeError("the body has been read already");
    this.#used = this.#body !== undefined;
    return this.#body ?? "";
  }
  // peek is for the host.
  static peek(b) { return b.#body; }
  async text() {
    const b = this.#take();
    return isBytes(b) ? text(b) : b;
  }
  async json() { return JSON.parse(await this.text()); }
  async bytes() {
    const b = this.#take();
    return isBytes(b) ? b : utf8(b);
  }
  async arrayBuffer() { return (await this.bytes()).buffer; }
}

class Response extends Body {
  constructor(body, { status = 200, statusText = "", headers } = {}, from) {
    const [value, type] = bodyOf(body, "Response");
    super(value);
    if (from === undefined && !(Number.isInteger(status) && status >= 200 && status <= 599)) throw new RangeError(`Response: status ${status} is not within 200 to 599`);
    this.status = status;
    this.statusText = statusText;
    this.headers = from === undefined ? typed(headers, type) : new Headers(headers);
    this.url = from?.url ?? "";
    this.redirected = from?.redirected ?? false;
    this.type = from === undefined ? "default" : "basic";
  }
  get ok() { return this.status >= 200 && this.status < 300; }
  clone() {
    if (this.bodyUsed) throw new TypeError("Response.clone: the body has been read already");
    return new Response(Body.peek(this), this, this);
  }
  static json(value, init = {}) {
    const body = JSON.stringify(value);
    if (body === undefined) throw new TypeError("Response.json: the value has no form in JSON");
    return new Response(body, { status: init.status, statusText: init.statusText, headers: typed(init.headers, "application/json") });
  }
  static redirect(url, status = 302) {
    if (![301, 302, 303, 307, 308].includes(status)) throw new RangeError(`Response.redirect: ${status} is no redirect`);
    return new Response(null, { status, headers: { location: String(url) } });
  }
  static error() { return new Response(null, { status: 500 }); }
}

class Request extends Body {
  constructor(input, init = {}) {
    const from = input instanceof Request ? input : undefined;
    const [value, type] = init.body !== undefined ? bodyOf(init.body, "Request") : [from && Body.peek(from)];
    super(value);
    this.url = from?.url ?? String(input);
    this.method = String(init.method ?? from?.method ?? "GET").toUpperCase();
    this.headers = typed(init.headers ?? from?.headers, type);
    this.redirect = init.redirect ?? from?.redirect ?? "follow";
    this.timeout = init.timeout ?? from?.timeout;
  }
  clone() { return new Request(this); }
}

// fetch sends a request while the handler waits. options.timeout bounds it.
async function fetch(input, options) {
  const r = new Request(input, options ?? {});
  const head = { url: r.url, method: r.method, headers: Headers.peek(r.headers), redirect: r.redirect };
  if (r.timeout !== undefined) head.timeout_ms = typeof r.timeout === "string" && /^\d+ms$/.test(r.timeout) ? parseInt(r.timeout, 10) : seconds(r.timeout, "fetch: timeout") * 1000;
  host(call.fetch, JSON.stringify(head), Body.peek(r));
  const answer = JSON.parse(args[0]);
  return new Response(args[1] === "" ? null : args[1], { status: answer.status, headers: answer.headers, statusText: "" }, { url: answer.url, redirected: answer.url !== r.url });
}

const plus = (s) => {
  s = s.replace(/\+/g, " ");
  try {
    return decodeURIComponent(s);
  } catch {
    return s.replace(/%[0-9a-f]{2}/gi, (m) => String.fromCharCode(parseInt(m.slice(1), 16)));
  }
};
const form = (s) => encodeURIComponent(s).replace(/%20/g, "+").replace(/[!'()~]/g, (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase());

class URLSearchParams {
  #list = [];
  #changed;
  constructor(init = "", changed) {
    this.#changed = changed;
    if (typeof init === "object" && init !== null) {
      for (const [k, v] of pairsOf(init)) this.#list.push([String(k), String(v)]);
      return;
    }
    for (const part of String(init).replace(/^\?/, "").split("&")) {
      if (part === "") continue;
      const i = part.indexOf("=");
      this.#list.push(i < 0 ? [plus(part), ""] : [plus(part.slice(0, i)), plus(part.slice(i + 1))]);
    }
  }
  get size() { return this.#list.length; }
  append(k, v) {
    this.#list.push([String(k), String(v)]);
    this.#changed?.();
  }
  delete(k, v) {
    this.#list = this.#list.filter((p) => p[0] !== String(k) || (v !== undefined && p[1] !== String(v)));
    this.#changed?.();
  }
  get(k) { return this.#list.find((p) => p[0] === String(k))?.[1] ?? null; }
  getAll(k) { return this.#list.filter((p) => p[0] === String(k)).map((p) => p[1]); }
  has(k, v) { return this.#list.some((p) => p[0] === String(k) && (v === undefined || p[1] === String(v))); }
  set(k, v) {
    const first = this.#list.find((p) => p[0] === String(k));
    if (first === undefined) return this.append(k, v);
    first[1] = String(v);
    this.#list = this.#list.filter((p) => p === first || p[0] !== String(k));
    this.#changed?.();
  }
  sort() {
    this.#list.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
    this.#changed?.();
  }
  *entries() { for (const p of this.#list) yield [...p]; }
  *keys() { for (const p of this.#list) yield p[0]; }
  *values() { for (const p of this.#list) yield p[1]; }
  [Symbol.iterator]() { return this.entries(); }
  forEach(f, self) { for (const [k, v] of this.#list) f.call(self, v, k, this); }
  toString() { return this.#list.map(([k, v]) => `${form(k)}=${form(v)}`).join("&"); }
}

const ports = { "http:": "80", "https:": "443", "ws:": "80", "wss:": "443", "ftp:": "21" };
const parts = /^(?:([a-z][a-z0-9+.-]*):)?(?:\/\/([^/?#]*))?([^?#]*)(\?[^#]*)?(#[^]*)?$/i;
// escaped is a part with what may not stand in it as %xx; what is escaped stays.
const escaped = (s, keep) => s.replace(/[^!-~]|["<>`{}]/gu, (c) => (keep?.includes(c) ? c : encodeURIComponent(c.isWellFormed() ? c : "\ufffd")));

// straight takes . and .. out of a path.
function straight(path) {
  const out = [];
  const all = path.split("/").slice(1);
  all.forEach((p, i) => {
    const plain = p.replace(/%2e/gi, ".");
    const last = i === all.length - 1;
    if (plain === "..") out.pop();
    else if (plain !== ".") out.push(p);
    if (last && (plain === "." || plain === "..")) out.push("");
  });
  return "/" + out.join("/");
}

class URL {
  #protocol; #username = ""; #password = ""; #hostname = ""; #port = ""; #pathname = ""; #search = ""; #hash = ""; #params;
  constructor(input, base) {
    const given = String(input).replace(/^[\0- ]+|[\0- ]+$/g, "").replace(/[\t\r\n]/g, "");
    const from = base === undefined ? undefined : base instanceof URL ? base : new URL(base);
    let m = parts.exec(given);
    const scheme = m[1]?.toLowerCase();
    if (scheme === undefined && from === undefined) throw new TypeError(`URL: ${JSON.stringify(given)} is not absolute, and there is no base`);
    this.#protocol = scheme === undefined ? from.#protocol : scheme + ":";
    const special = this.#protocol in ports;
    if (special) m = parts.exec(given.replace(/^[^?#]*/, (s) => s.replace(/\\/g, "/")));
    let [, , authority, path, search, hash] = m;
    if (authority === undefined && special && scheme !== undefined) {
      if (from !== undefined && from.#protocol === this.#protocol) return Object.assign(this, this.#copy(new URL(given.slice(scheme.length + 1), from)));
      [, authority, path] = /^\/*([^/]*)([^]*)$/.exec(path);
    }
    if (authority !== undefined) this.#authority(authority, special, given);
    else if (scheme === undefined) {
      this.#username = from.#username;
      this.#password = from.#password;
      this.#hostname = from.#hostname;
      this.#port = from.#port;
      if (path === "") {
        path = from.#pathname;
        search ??= from.#search;
      } else if (path[0] !== "/") path = from.#pathname.replace(/[^/]*$/, "") + path;
    }
    this.#pathname = escaped(path);
    if (special || this.#pathname[0] === "/") this.#pathname = straight(this.#pathname[0] === "/" ? this.#pathname : "/" + this.#pathname);
    this.search = search ?? "";
    this.hash = hash ?? "";
  }
  #copy(u) {
    this.#protocol = u.#protocol; this.#username = u.#username; this.#password = u.#password; this.#hostname = u.#hostname;
    this.#port = u.#port; this.#pathname = u.#pathname; this.#search = u.#search; this.#hash = u.#hash;
  }
  #authority(s, special, given) {
    const at = s.lastIndexOf("@");
    if (at >= 0) {
      const i = s.slice(0, at).indexOf(":");
      this.#username = escaped(i < 0 ? s.slice(0, at) : s.slice(0, i));
      this.#password = i < 0 ? "" : escaped(s.slice(i + 1, at));
      s = s.slice(at + 1);
    }
    const m = /^(\[[0-9a-f:.]+\]|[^:]*)(?::(\d*))?$/i.exec(s);
    if (m === null || (special && m[1] === "")) throw new TypeError(`URL: ${JSON.stringify(given)} has no host`);
    if (/[^!-~]|[#%/<>?@\\^|"`{}]/.test(m[1])) throw new TypeError(`URL: ${JSON.stringify(m[1])} is not a host: names in other alphabets are written with xn--`);
    if (Number(m[2] ?? 0) > 65535) throw new TypeError(`URL: port ${m[2]} is over 65535`);
    this.#hostname = m[1].toLowerCase();
    this.port = m[2] ?? "";
  }
  static canParse(input, base) {
    try {
      return Boolean(new URL(input, base));
    } catch {
      return false;
    }
  }
  static parse(input, base) { return URL.canParse(input, base) ? new URL(input, base) : null; }
  get protocol() { return this.#protocol; }
  set protocol(v) { if (/^[a-z][a-z0-9+.-]*:?$/i.test(v)) this.#protocol = String(v).toLowerCase().replace(/:?$/, ":"); }
  get username() { return this.#username; }
  set username(v) { this.#username = encodeURIComponent(v); }
  get password() { return this.#password; }
  set password(v) { this.#password = encodeURIComponent(v); }
  get hostname() { return this.#hostname; }
  set hostname(v) { this.#authority(`${this.#hostname && ""}${v}`, true, String(v)); }
  get port() { return this.#port; }
  set port(v) {
    v = String(v);
    this.#port = v === "" || v === ports[this.#protocol] ? "" : String(Number(v));
  }
  get host() { return this.#hostname + (this.#port === "" ? "" : ":" + this.#port); }
  set host(v) { this.#authority(String(v), true, String(v)); }
  get origin() { return this.#protocol in ports ? `${this.#protocol}//${this.host}` : "null"; }
  get pathname() { return this.#pathname; }
  set pathname(v) { this.#pathname = straight("/" + escaped(String(v).replace(/^\//, "")).replace(/[?#]/g, encodeURIComponent)); }
  get search() { return this.#search; }
  set search(v) {
    v = String(v).replace(/^\?/, "");
    this.#search = v === "" ? "" : "?" + escaped(v, "`{}").replace(/[#']/g, (c) => "%" + c.charCodeAt(0).toString(16));
    this.#params = undefined;
  }
  get hash() { return this.#hash; }
  set hash(v) {
    v = String(v).replace(/^#/, "");
    this.#hash = v === "" ? "" : "#" + escaped(v, "{}");
  }
  get searchParams() {
    return (this.#params ??= new URLSearchParams(this.#search, () => {
      const s = this.#params.toString();
      this.#search = s === "" ? "" : "?" + s;
    }));
  }
  get href() {
    const user = this.#username + (this.#password === "" ? "" : ":" + this.#password);
    const there = this.#hostname !== "" || this.#protocol in ports || this.#protocol === "file:";
    return this.#protocol + (there ? "//" : "") + (user === "" ? "" : user + "@") + this.host + this.#pathname + this.#search + this.#hash;
  }
  set href(v) { this.#copy(new URL(v)); this.#params = undefined; }
  toString() { return this.href; }
  toJSON() { return this.href; }
}

for (const c of [TextEncoder, TextDecoder, Headers, Response, Request, URLSearchParams, URL]) {
  Object.defineProperty(globalThis, c.name, { value: c, writable: true, configurable: true });
}
Object.defineProperty(globalThis, "fetch", { value: fetch, writable: true, configurable: true });

globalThis.__headgate.web = {
  fetch,
  // reply is a Response in parts: status, headers and body; undefined is no
  // Response.
  reply: (v) => (v instanceof Response ? { status: v.status, headers: Headers.peek(v.headers), body: Body.peek(v) ?? "" } : undefined),
};
