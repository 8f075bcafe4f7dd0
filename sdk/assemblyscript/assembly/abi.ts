// The host calls of ABI v1.
// @ts-nocheck
@external("headgate_v1", "input_len") export declare function input_len(): i32;
@external("headgate_v1", "input_read") export declare function input_read(dst: usize, cap: i32): i32;
@external("headgate_v1", "output") export declare function output(p: usize, n: i32): void;
@external("headgate_v1", "output_meta") export declare function output_meta(k: usize, kl: i32, v: usize, vl: i32): i32;
@external("headgate_v1", "error") export declare function error(p: usize, n: i32): void;
@external("headgate_v1", "meta") export declare function meta(k: usize, kl: i32, dst: usize, cap: i32): i32;
@external("headgate_v1", "log") export declare function log(level: i32, p: usize, n: i32): void;
@external("headgate_v1", "now_ms") export declare function now_ms(): i64;
@external("headgate_v1", "random") export declare function random(dst: usize, n: i32): void;
@external("headgate_v1", "config") export declare function config(k: usize, kl: i32, dst: usize, cap: i32): i32;
@external("headgate_v1", "secret") export declare function secret(k: usize, kl: i32, dst: usize, cap: i32): i32;
@external("headgate_v1", "kv_get") export declare function kv_get(k: usize, kl: i32, dst: usize, cap: i32): i32;
@external("headgate_v1", "kv_set") export declare function kv_set(k: usize, kl: i32, v: usize, vl: i32, ttl: u32): i32;
@external("headgate_v1", "kv_del") export declare function kv_del(k: usize, kl: i32): i32;
@external("headgate_v1", "kv_list") export declare function kv_list(p: usize, pl: i32, cursor: u32, dst: usize, cap: i32): i32;
@external("headgate_v1", "publish") export declare function publish(t: usize, tl: i32, p: usize, pl: i32, flags: u32, expiry: u32): i32;
@external("headgate_v1", "enqueue") export declare function enqueue(q: usize, ql: i32, p: usize, pl: i32, delay: u32): i32;
@external("headgate_v1", "invoke") export declare function invoke(f: usize, fl: i32, p: usize, pl: i32): i32;
@external("headgate_v1", "sensor_read") export declare function sensor_read(n: usize, nl: i32, dst: usize, cap: i32): i32;
@external("headgate_v1", "actuate") export declare function actuate(n: usize, nl: i32, v: usize, vl: i32, lease_ms: u32): i32;
@external("headgate_v1", "metric") export declare function metric(n: usize, nl: i32, value: f64): void;
@external("headgate_v1", "http_fetch") export declare function http_fetch(r: usize, rl: i32, dst: usize, cap: i32): i32;
