//! A host in memory, to test a function with `cargo test` or `rustc --test`:
//!
//! ```ignore
//! let r = testkit::run(handle, Case { data: br#"{"moisture":20}"#.to_vec(), ..Case::default() });
//! assert_eq!(r.published[0].topic, "farm/3/valve");
//! ```
//!
//! Nothing is limited here; `headgate test` runs on the real sandbox.

use crate::{Context, Error, Event, Level, Output, Publish, Result};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// An event, and what the function finds.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub data: Vec<u8>,
    /// Attributes of the event; a capture is `params.<name>`.
    pub meta: BTreeMap<String, String>,
    /// Values of the config as JSON.
    pub config: BTreeMap<String, String>,
    pub state: BTreeMap<String, Vec<u8>>,
    /// Objects by bucket/key.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Secrets that the manifest declares; `None` while one is not set.
    pub secrets: BTreeMap<String, Option<String>>,
    /// Readings of sensors as JSON, such as `{"value":27,"quality":"good","age_ms":0}`.
    pub sensors: BTreeMap<String, String>,
    /// Topics, state keys, sensors, queues and functions that are not permitted.
    pub denied: Vec<String>,
    pub now_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    /// Seconds, 0 for never.
    pub expiry: u32,
}

/// What a handler asked for; nothing when it failed.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub output: Vec<u8>,
    pub attributes: Vec<(String, String)>,
    pub error: Option<String>,
    pub published: Vec<Published>,
    /// Queue, payload, delay in seconds.
    pub enqueued: Vec<(String, Vec<u8>, u32)>,
    /// The actuators that it switched: name, value, lease in milliseconds.
    pub actuated: Vec<(String, Vec<u8>, u32)>,
    pub invoked: Vec<(String, Vec<u8>)>,
    pub state: BTreeMap<String, Vec<u8>>,
    /// Objects by bucket/key.
    pub objects: BTreeMap<String, Vec<u8>>,
    pub logs: Vec<(Level, String)>,
    pub metrics: Vec<(String, f64)>,
}

thread_local! {
    static CURRENT: RefCell<(Case, Asked)> = RefCell::default();
}

fn with<T>(f: impl FnOnce(&mut Case, &mut Asked) -> T) -> T {
    CURRENT.with(|c| {
        let (case, asked) = &mut *c.borrow_mut();
        f(case, asked)
    })
}

/// run gives one event to a handler.
pub fn run<O: Output>(handle: fn(&Event, &Context) -> Result<O>, case: Case) -> Asked {
    let (before, objects) = (case.state.clone(), case.objects.clone());
    CURRENT.with(|c| *c.borrow_mut() = (case, Asked { state: before.clone(), objects: objects.clone(), ..Asked::default() }));
    let ctx = Context::current();
    let result = handle(&Event::current(), &ctx).map(|o| o.output(&ctx));
    with(|_, asked| {
        if let Err(e) = result {
            *asked = Asked { error: Some(e.message), state: before, objects, logs: std::mem::take(&mut asked.logs), ..Asked::default() };
        }
        std::mem::take(asked)
    })
}

fn allow(call: &str, name: &str) -> Result<()> {
    if with(|case, _| case.denied.iter().any(|d| d == name)) {
        return Err(Error::refused(call, name, -2));
    }
    Ok(())
}

pub(crate) fn prepare() {}

pub(crate) fn input() -> Vec<u8> {
    with(|case, _| case.data.clone())
}

pub(crate) fn output(v: &[u8]) {
    with(|_, asked| asked.output = v.to_vec())
}

pub(crate) fn output_meta(k: &str, v: &str) -> Result<()> {
    with(|_, asked| asked.attributes.push((k.to_string(), v.to_string())));
    Ok(())
}

pub(crate) fn error(text: &str) {
    with(|_, asked| asked.error = Some(text.to_string()))
}

pub(crate) fn meta(k: &str) -> Option<String> {
    with(|case, _| case.meta.get(k).cloned())
}

pub(crate) fn log(level: Level, text: &str) {
    with(|_, asked| asked.logs.push((level, text.to_string())))
}

pub(crate) fn now_ms() -> u64 {
    with(|case, _| case.now_ms)
}

/// A fixed sequence, so that tests repeat.
pub(crate) fn random(dst: &mut [u8]) {
    for (i, b) in dst.iter_mut().enumerate() {
        *b = (i as u8).wrapping_mul(167).wrapping_add(13);
    }
}

pub(crate) fn config(k: &str) -> Result<Option<Vec<u8>>> {
    Ok(with(|case, _| case.config.get(k).map(|v| v.clone().into_bytes())))
}

pub(crate) fn secret(k: &str) -> Result<Option<Vec<u8>>> {
    match with(|case, _| case.secrets.get(k).cloned()) {
        None => Err(Error::refused("secret", k, -2)),
        Some(v) => Ok(v.map(String::into_bytes)),
    }
}

pub(crate) fn kv_get(k: &str) -> Result<Option<Vec<u8>>> {
    allow("kv_get", k)?;
    Ok(with(|_, asked| asked.state.get(k).cloned()))
}

pub(crate) fn kv_set(k: &str, v: &[u8], _ttl: u32) -> Result<()> {
    allow("kv_set", k)?;
    with(|_, asked| asked.state.insert(k.to_string(), v.to_vec()));
    Ok(())
}

pub(crate) fn kv_del(k: &str) -> Result<()> {
    allow("kv_del", k)?;
    with(|_, asked| asked.state.remove(k));
    Ok(())
}

pub(crate) fn kv_list(prefix: &str) -> Result<Vec<String>> {
    Ok(with(|_, asked| asked.state.keys().filter(|k| k.starts_with(prefix)).cloned().collect()))
}

pub(crate) fn blob_get(name: &str) -> Result<Option<Vec<u8>>> {
    allow("blob_get", name)?;
    Ok(with(|_, asked| asked.objects.get(name).cloned()))
}

/// The digest is left out here.
pub(crate) fn blob_stat(name: &str) -> Result<Option<Vec<u8>>> {
    Ok(blob_get(name)?.map(|v| format!("{{\"size\":{}}}", v.len()).into_bytes()))
}

pub(crate) fn blob_read(name: &str, offset: u64, dst: &mut [u8]) -> Result<usize> {
    let v = blob_get(name)?.ok_or_else(|| Error::refused("blob_read", name, -1))?;
    let rest = v.get(offset as usize..).unwrap_or_default();
    let n = rest.len().min(dst.len());
    dst[..n].copy_from_slice(&rest[..n]);
    Ok(n)
}

pub(crate) fn blob_put(name: &str, _kind: &str, p: &[u8]) -> Result<()> {
    allow("blob_put", name)?;
    with(|_, asked| asked.objects.insert(name.to_string(), p.to_vec()));
    Ok(())
}

pub(crate) fn blob_delete(name: &str) -> Result<()> {
    allow("blob_delete", name)?;
    with(|_, asked| asked.objects.remove(name));
    Ok(())
}

pub(crate) fn blob_list(prefix: &str) -> Result<Vec<String>> {
    let bucket = prefix.find('/').map_or(0, |i| i + 1);
    Ok(with(|_, asked| asked.objects.keys().filter(|k| k.starts_with(prefix)).map(|k| k[bucket..].to_string()).collect()))
}

pub(crate) fn publish(t: &str, p: &[u8], how: &Publish) -> Result<()> {
    allow("publish", t)?;
    if how.qos > 2 {
        return Err(Error::refused("publish", t, -4));
    }
    let expiry = how.expiry.map(crate::seconds).unwrap_or(0);
    with(|_, asked| asked.published.push(Published { topic: t.to_string(), payload: p.to_vec(), qos: how.qos, retain: how.retain, expiry }));
    Ok(())
}

pub(crate) fn enqueue(q: &str, p: &[u8], delay: u32) -> Result<()> {
    allow("enqueue", q)?;
    with(|_, asked| asked.enqueued.push((q.to_string(), p.to_vec(), delay)));
    Ok(())
}

pub(crate) fn invoke(f: &str, p: &[u8]) -> Result<()> {
    allow("invoke", f)?;
    with(|_, asked| asked.invoked.push((f.to_string(), p.to_vec())));
    Ok(())
}

pub(crate) fn metric(n: &str, value: f64) {
    with(|_, asked| asked.metrics.push((n.to_string(), value)))
}

pub(crate) fn sensor(n: &str) -> Result<Option<Vec<u8>>> {
    allow("sensor_read", n)?;
    Ok(with(|case, _| case.sensors.get(n).map(|r| r.clone().into_bytes())))
}

pub(crate) fn actuate(n: &str, v: &[u8], lease_ms: u32) -> Result<Duration> {
    allow("actuate", n)?;
    with(|_, asked| asked.actuated.push((n.to_string(), v.to_vec(), lease_ms)));
    let granted = match (v, lease_ms) {
        (b"off", _) => 0,
        (_, 0) => 600_000,
        (_, ms) => u64::from(ms),
    };
    Ok(Duration::from_millis(granted))
}

pub(crate) fn fetch(_request: &[u8]) -> Result<Vec<u8>> {
    Err(Error::refused("http_fetch", "", -5))
}
