//! The host calls of ABI v1.

use crate::{Code, Error, Level, Publish, Result};
use std::time::Duration;

mod abi {
    #[link(wasm_import_module = "headgate_v1")]
    extern "C" {
        pub fn input_len() -> i32;
        pub fn input_read(dst: *mut u8, cap: usize) -> i32;
        pub fn output(p: *const u8, n: usize);
        pub fn output_meta(k: *const u8, kl: usize, v: *const u8, vl: usize) -> i32;
        pub fn error(p: *const u8, n: usize);
        pub fn meta(k: *const u8, kl: usize, dst: *mut u8, cap: usize) -> i32;
        pub fn log(level: i32, p: *const u8, n: usize);
        pub fn now_ms() -> i64;
        pub fn random(dst: *mut u8, n: usize);
        pub fn config(k: *const u8, kl: usize, dst: *mut u8, cap: usize) -> i32;
        pub fn secret(k: *const u8, kl: usize, dst: *mut u8, cap: usize) -> i32;
        pub fn kv_get(k: *const u8, kl: usize, dst: *mut u8, cap: usize) -> i32;
        pub fn kv_set(k: *const u8, kl: usize, v: *const u8, vl: usize, ttl_s: u32) -> i32;
        pub fn kv_del(k: *const u8, kl: usize) -> i32;
        pub fn kv_list(p: *const u8, pl: usize, cursor: u32, dst: *mut u8, cap: usize) -> i32;
        pub fn publish(t: *const u8, tl: usize, p: *const u8, pl: usize, flags: u32, expiry_s: u32) -> i32;
        pub fn enqueue(q: *const u8, ql: usize, p: *const u8, pl: usize, delay_s: u32) -> i32;
        pub fn invoke(f: *const u8, fl: usize, p: *const u8, pl: usize) -> i32;
        pub fn sensor_read(n: *const u8, nl: usize, dst: *mut u8, cap: usize) -> i32;
        pub fn actuate(n: *const u8, nl: usize, v: *const u8, vl: usize, lease_ms: u32) -> i32;
        pub fn metric(n: *const u8, nl: usize, value: f64);
        pub fn blob_get(k: *const u8, kl: usize, dst: *mut u8, cap: usize) -> i32;
        pub fn blob_put_typed(k: *const u8, kl: usize, t: *const u8, tl: usize, p: *const u8, pl: usize) -> i32;
        pub fn blob_stat(k: *const u8, kl: usize, dst: *mut u8, cap: usize) -> i32;
        pub fn blob_read(k: *const u8, kl: usize, offset: i64, dst: *mut u8, cap: usize) -> i32;
        pub fn blob_delete(k: *const u8, kl: usize) -> i32;
        pub fn blob_list(p: *const u8, pl: usize, cursor: u32, dst: *mut u8, cap: usize) -> i32;
        pub fn http_fetch(r: *const u8, rl: usize, dst: *mut u8, cap: usize) -> i32;
    }
}

/// prepare makes room on the heap before the clean state is taken: an instance
/// whose memory grew is replaced.
pub fn prepare() {
    std::panic::set_hook(Box::new(|info| log(Level::Error, &info.to_string())));
    drop(Vec::<u8>::with_capacity(48 << 10));
}

fn done(call: &str, what: &str, rc: i32) -> Result<()> {
    if rc < 0 {
        return Err(Error::refused(call, what, rc));
    }
    Ok(())
}

/// read asks again with more room when the value is larger than expected.
fn read(call: &str, what: &str, ask: impl Fn(*mut u8, usize) -> i32) -> Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(512);
    loop {
        let n = ask(value.as_mut_ptr(), value.capacity());
        if n < 0 {
            return if Code::of(n) == Code::NotFound { Ok(None) } else { Err(Error::refused(call, what, n)) };
        }
        let n = n as usize;
        if n <= value.capacity() {
            // The host has written n bytes.
            unsafe { value.set_len(n) };
            return Ok(Some(value));
        }
        value.reserve(n);
    }
}

pub fn input() -> Vec<u8> {
    let n = unsafe { abi::input_len() } as usize;
    let mut data = Vec::with_capacity(n);
    unsafe {
        abi::input_read(data.as_mut_ptr(), n);
        data.set_len(n);
    }
    data
}

pub fn output(v: &[u8]) {
    unsafe { abi::output(v.as_ptr(), v.len()) }
}

pub fn output_meta(k: &str, v: &str) -> Result<()> {
    done("output_meta", k, unsafe { abi::output_meta(k.as_ptr(), k.len(), v.as_ptr(), v.len()) })
}

pub fn error(text: &str) {
    unsafe { abi::error(text.as_ptr(), text.len()) }
}

pub fn meta(k: &str) -> Option<String> {
    let raw = read("meta", k, |dst, cap| unsafe { abi::meta(k.as_ptr(), k.len(), dst, cap) });
    raw.ok().flatten().map(|v| String::from_utf8_lossy(&v).into_owned())
}

pub fn log(level: Level, text: &str) {
    unsafe { abi::log(level as i32, text.as_ptr(), text.len()) }
}

pub fn now_ms() -> u64 {
    unsafe { abi::now_ms() as u64 }
}

pub fn random(dst: &mut [u8]) {
    unsafe { abi::random(dst.as_mut_ptr(), dst.len()) }
}

pub fn config(k: &str) -> Result<Option<Vec<u8>>> {
    read("config", k, |dst, cap| unsafe { abi::config(k.as_ptr(), k.len(), dst, cap) })
}

pub fn secret(k: &str) -> Result<Option<Vec<u8>>> {
    read("secret", k, |dst, cap| unsafe { abi::secret(k.as_ptr(), k.len(), dst, cap) })
}

pub fn kv_get(k: &str) -> Result<Option<Vec<u8>>> {
    read("kv_get", k, |dst, cap| unsafe { abi::kv_get(k.as_ptr(), k.len(), dst, cap) })
}

pub fn kv_set(k: &str, v: &[u8], ttl: u32) -> Result<()> {
    done("kv_set", k, unsafe { abi::kv_set(k.as_ptr(), k.len(), v.as_ptr(), v.len(), ttl) })
}

pub fn kv_del(k: &str) -> Result<()> {
    done("kv_del", k, unsafe { abi::kv_del(k.as_ptr(), k.len()) })
}

pub fn kv_list(prefix: &str) -> Result<Vec<String>> {
    list("kv_list", prefix, abi::kv_list)
}

pub fn blob_get(name: &str) -> Result<Option<Vec<u8>>> {
    read("blob_get", name, |dst, cap| unsafe { abi::blob_get(name.as_ptr(), name.len(), dst, cap) })
}

pub fn blob_stat(name: &str) -> Result<Option<Vec<u8>>> {
    read("blob_stat", name, |dst, cap| unsafe { abi::blob_stat(name.as_ptr(), name.len(), dst, cap) })
}

pub fn blob_read(name: &str, offset: u64, dst: &mut [u8]) -> Result<usize> {
    let n = unsafe { abi::blob_read(name.as_ptr(), name.len(), offset as i64, dst.as_mut_ptr(), dst.len()) };
    done("blob_read", name, n).map(|_| n as usize)
}

pub fn blob_put(name: &str, kind: &str, p: &[u8]) -> Result<()> {
    done("blob_put", name, unsafe { abi::blob_put_typed(name.as_ptr(), name.len(), kind.as_ptr(), kind.len(), p.as_ptr(), p.len()) })
}

pub fn blob_delete(name: &str) -> Result<()> {
    done("blob_delete", name, unsafe { abi::blob_delete(name.as_ptr(), name.len()) })
}

pub fn blob_list(prefix: &str) -> Result<Vec<String>> {
    list("blob_list", prefix, abi::blob_list)
}

type ListCall = unsafe extern "C" fn(*const u8, usize, u32, *mut u8, usize) -> i32;

fn list(call: &str, prefix: &str, ask: ListCall) -> Result<Vec<String>> {
    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    let (mut keys, mut cursor) = (Vec::new(), 0);
    loop {
        let page = read(call, prefix, |dst, cap| unsafe { ask(prefix.as_ptr(), prefix.len(), cursor, dst, cap) })?;
        let page = page.unwrap_or_default();
        if page.len() < 4 {
            return Ok(keys);
        }
        cursor = word(&page);
        let mut rest = &page[4..];
        while rest.len() >= 4 {
            let n = (word(rest) as usize).min(rest.len() - 4);
            keys.push(String::from_utf8_lossy(&rest[4..4 + n]).into_owned());
            rest = &rest[4 + n..];
        }
        if cursor == 0 {
            return Ok(keys);
        }
    }
}

pub fn publish(t: &str, p: &[u8], how: &Publish) -> Result<()> {
    let flags = how.qos as u32 | if how.retain { 4 } else { 0 };
    let expiry = how.expiry.map(crate::seconds).unwrap_or(0);
    done("publish", t, unsafe { abi::publish(t.as_ptr(), t.len(), p.as_ptr(), p.len(), flags, expiry) })
}

pub fn enqueue(q: &str, p: &[u8], delay: u32) -> Result<()> {
    done("enqueue", q, unsafe { abi::enqueue(q.as_ptr(), q.len(), p.as_ptr(), p.len(), delay) })
}

pub fn invoke(f: &str, p: &[u8]) -> Result<()> {
    done("invoke", f, unsafe { abi::invoke(f.as_ptr(), f.len(), p.as_ptr(), p.len()) })
}

pub fn sensor(n: &str) -> Result<Option<Vec<u8>>> {
    read("sensor_read", n, |dst, cap| unsafe { abi::sensor_read(n.as_ptr(), n.len(), dst, cap) })
}

pub fn actuate(n: &str, v: &[u8], lease_ms: u32) -> Result<Duration> {
    let granted = unsafe { abi::actuate(n.as_ptr(), n.len(), v.as_ptr(), v.len(), lease_ms) };
    done("actuate", n, granted)?;
    Ok(Duration::from_millis(granted as u64))
}

pub fn metric(n: &str, value: f64) {
    unsafe { abi::metric(n.as_ptr(), n.len(), value) }
}

pub fn fetch(request: &[u8]) -> Result<Vec<u8>> {
    let answer = read("http_fetch", "", |dst, cap| unsafe { abi::http_fetch(request.as_ptr(), request.len(), dst, cap) })?;
    answer.ok_or_else(|| Error::refused("http_fetch", "", -1))
}
