/** Types of a Headgate function in JavaScript. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Bytes go as they are, strings as UTF-8, everything else as JSON. */
export type Payload = string | Uint8Array | ArrayBuffer | Json;

/** Seconds, or text such as "90s", "20m", "1h30m". */
export type Duration = number | string;

/** One event. Attributes are those of CloudEvents 1.0. */
export interface Event<Data = any> {
  readonly id?: string;
  readonly source?: string;
  readonly type?: string;
  /** What the event is about: for MQTT the topic. */
  readonly subject?: string;
  readonly time?: string;
  readonly datacontenttype?: string;
  /** 1 at the first attempt. */
  readonly attempt: number;
  /** The captures of the trigger: {field} in its topic filter. */
  readonly params: Readonly<Record<string, string>>;
  /** The payload: decoded where it is JSON, else its bytes. */
  readonly data: Data;
  /** What an http trigger has started it for; undefined for other events. */
  readonly request?: HTTPRequest;
  text(): string;
  bytes(): Uint8Array;
  meta(key: string): string | undefined;
}

export interface State {
  /** The value: decoded where it is JSON, else its bytes; undefined when there is none. */
  get<T = any>(key: string): T | undefined;
  set(key: string, value: Payload, options?: { ttl?: Duration }): void;
  delete(key: string): void;
  /** The keys that start with prefix, in order. */
  list(prefix?: string): string[];
}

/** What a bucket has under a key. */
export interface ObjectInfo {
  /** sha256: and hexadecimal. */
  readonly digest: string;
  readonly size: number;
  /** The media type. */
  readonly type: string;
  /** When it was put, as in RFC 3339. */
  readonly modified: string;
}

export interface StoredObject extends ObjectInfo {
  bytes(): Uint8Array;
  text(): string;
  json<T = any>(): T;
}

/** The objects that permissions.objects allows. */
export interface Objects {
  /** The object with its bytes; undefined when there is none. */
  get(bucket: string, key: string): StoredObject | undefined;
  stat(bucket: string, key: string): ObjectInfo | undefined;
  /** Up to length bytes from offset on, for objects that do not fit into memory; undefined when there is none. */
  read(bucket: string, key: string, offset: number, length: number): Uint8Array | undefined;
  /** Puts an object; without a type it has that of its key's ending. */
  put(bucket: string, key: string, body: Payload, options?: { type?: string }): void;
  delete(bucket: string, key: string): void;
  /** The keys that start with prefix, in order. */
  list(bucket: string, prefix?: string): string[];
}

export interface Log {
  debug(...values: unknown[]): void;
  info(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
}

/** What a handler may do. Everything happens when the handler has succeeded, or not at all. */
export interface Context<Config = any> {
  readonly state: State;
  readonly objects: Objects;
  readonly config: Readonly<Config>;
  readonly params: Readonly<Record<string, string>>;
  readonly log: Log;
  publish(topic: string, payload: Payload, options?: { qos?: 0 | 1 | 2; retain?: boolean; expiry?: Duration }): void;
  enqueue(queue: string, payload: Payload, options?: { delay?: Duration }): void;
  invoke(name: string, payload?: Payload): void;
  metric(name: string, value: number): void;
  /** Milliseconds since 1970. Time stands still while a handler computes. */
  now(): number;
  /**
   * Switches an actuator "on" or "off" (a fraction such as 0.4 where it can be dimmed), for a lease, the actuator's
   * own default where none is given. Returns the milliseconds that are granted; throws UNAVAILABLE where an interlock
   * forbids it now, NOT_FOUND, DENIED. It moves when the event is settled; off moves at once.
   */
  actuate(name: string, value: "on" | "off" | number | boolean, options?: { lease?: Duration }): number;
  /** A secret that the manifest declares; undefined while it is not set. */
  secret(name: string): string | undefined;
  /**
   * The latest reading of a sensor; undefined when there is none of that name. With maxAge it throws UNAVAILABLE
   * unless the reading is good and no older.
   */
  sensor(name: string, options?: { maxAge?: Duration }): Reading | undefined;
  /** Sends an HTTP request to where permissions.fetch allows; the same as the global fetch. */
  fetch: typeof fetch;
}

/** What is known of a sensor. An invocation hears of one sensor always the same. */
export interface Reading {
  /** There only while quality is good: an old value cannot be taken for a new one. */
  value?: number;
  unit?: string;
  quality: "good" | "stale" | "bad" | "unread";
  /** How old the value is, in milliseconds. */
  age_ms: number;
  /** When it was measured, in RFC 3339. */
  at?: string;
  /** The last value known, while quality is not good, and why it is not. */
  last?: number;
  fault?: string;
  sensor: string;
  seq: number;
  /** True for a value that a broker had kept. */
  retained?: boolean;
}

/** What fetch takes. */
export interface FetchOptions {
  method?: string;
  headers?: Headers | Record<string, string> | [string, string][];
  body?: string | Uint8Array | ArrayBuffer | URLSearchParams;
  redirect?: "follow" | "manual" | "error";
  /** How long the call may take, redirects included. */
  timeout?: Duration;
}

declare global {
  /** A failure throws a HeadgateError; an answer of any status does not. A retry sends the same Idempotency-Key. */
  function fetch(url: string | URL | Request, options?: FetchOptions): Promise<Response>;
}

/** The request that an event came by. Names of headers are in lower case. */
export interface HTTPRequest {
  readonly method: string;
  readonly path: string;
  readonly queryString: string;
  /** The first value of each name. */
  readonly query: Readonly<Record<string, string>>;
  /** Every value of a name. */
  queries(name: string): string[];
  readonly headers: Readonly<Record<string, string>>;
  readonly params: Readonly<Record<string, string>>;
  readonly remote?: string;
  text(): string;
  bytes(): Uint8Array;
  json(): any;
}

/** A handler's result is the invocation's output. It may be async. */
export type Handler<Data = any, Config = any> = (event: Event<Data>, ctx: Context<Config>) => unknown;

/** What a call to the gateway throws. */
export interface HeadgateError extends Error {
  readonly name: "HeadgateError";
  readonly code: "DENIED" | "LIMIT" | "INVALID" | "UNSUPPORTED" | "UNAVAILABLE";
}
