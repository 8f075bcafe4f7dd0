//! Functions for Headgate gateways. No crate is needed besides.
//!
//! ```ignore
//! use headgate::{Context, Event, Publish, Result};
//!
//! headgate::handler!(handle);
//!
//! fn handle(event: &Event, ctx: &Context) -> Result<()> {
//!     let runs = ctx.get_json("runs")?.and_then(|v| v.as_i64()).unwrap_or(0) + 1;
//!     ctx.set("runs", runs)?;
//!     ctx.publish_with(&format!("farm/{}/valve", event.param("field")), "open", Publish { qos: 1, ..Publish::default() })
//! }
//! ```
//!
//! All that a handler asks for happens when it has returned `Ok`, or nothing does.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub mod fetch;
pub mod json;

#[cfg(not(target_arch = "wasm32"))]
pub mod testkit;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
use testkit as host;
#[cfg(target_arch = "wasm32")]
use wasm as host;

pub use fetch::{Request, Response};
pub use json::Json;

/// Why the gateway refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    NotFound,
    Denied,
    Limit,
    Invalid,
    Unsupported,
    Unavailable,
    /// The function's own failure, or a number that this SDK does not know.
    Other,
}

impl Code {
    /// The code of an errno of ABI v1.
    pub fn of(errno: i32) -> Code {
        match errno {
            -1 => Code::NotFound,
            -2 => Code::Denied,
            -3 => Code::Limit,
            -4 => Code::Invalid,
            -5 => Code::Unsupported,
            -6 => Code::Unavailable,
            _ => Code::Other,
        }
    }
}

/// A failure, of the gateway's call or of the function. It is made of text and
/// of the errors of parsing, so that `?` and `Err("why".into())` work.
#[derive(Debug)]
pub struct Error {
    pub code: Code,
    pub message: String,
}

impl Error {
    pub(crate) fn refused(call: &str, what: &str, errno: i32) -> Error {
        let code = Code::of(errno);
        Error { code, message: format!("{} {}: {:?}", call, what, code) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Error {
        Error { code: Code::Other, message: message.to_string() }
    }
}

impl From<String> for Error {
    fn from(message: String) -> Error {
        Error { code: Code::Other, message }
    }
}

impl std::error::Error for Error {}

macro_rules! from_error {
    ($($t:ty),*) => {$(
        impl From<$t> for Error {
            fn from(e: $t) -> Error {
                Error { code: Code::Other, message: e.to_string() }
            }
        }
    )*};
}
from_error!(
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::num::ParseIntError,
    std::num::ParseFloatError,
    std::fmt::Error,
    Box<dyn std::error::Error>
);

pub type Result<T> = std::result::Result<T, Error>;

/// What can be sent and stored: bytes and text as they are, numbers and `Json`
/// as JSON.
pub trait Payload {
    fn bytes(&self) -> Cow<'_, [u8]>;
    /// The content type of the function's output; empty for none.
    fn content_type(&self) -> &'static str {
        ""
    }
}

impl Payload for str {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl Payload for String {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
}

impl Payload for [u8] {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl Payload for Vec<u8> {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

impl Payload for Json {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.to_string().into_bytes())
    }
    fn content_type(&self) -> &'static str {
        "application/json"
    }
}

impl<T: Payload + ?Sized> Payload for &T {
    fn bytes(&self) -> Cow<'_, [u8]> {
        (**self).bytes()
    }
    fn content_type(&self) -> &'static str {
        (**self).content_type()
    }
}

macro_rules! number_payload {
    ($($t:ty),*) => {$(
        impl Payload for $t {
            fn bytes(&self) -> Cow<'_, [u8]> {
                Cow::Owned(self.to_string().into_bytes())
            }
            fn content_type(&self) -> &'static str {
                "application/json"
            }
        }
    )*};
}
number_payload!(i32, i64, u32, u64, usize, bool);

/// What a handler may return in `Ok`: nothing, or its output.
pub trait Output {
    fn output(self, ctx: &Context);
}

impl Output for () {
    fn output(self, _: &Context) {}
}

impl<P: Payload> Output for P {
    fn output(self, ctx: &Context) {
        if !self.content_type().is_empty() {
            let _ = ctx.output_meta("datacontenttype", self.content_type());
        }
        ctx.output(&self);
    }
}

/// What happened.
pub struct Event {
    data: Vec<u8>,
}

impl Event {
    #[doc(hidden)]
    pub fn current() -> Event {
        Event { data: host::input() }
    }

    /// The payload as it came.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The payload as text.
    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.data)?)
    }

    /// The payload decoded.
    pub fn json(&self) -> Result<Json> {
        Json::parse(self.text()?)
    }

    /// An attribute of the event: `id`, `source`, `params.field`, …
    pub fn meta(&self, key: &str) -> Option<String> {
        host::meta(key)
    }

    /// A capture of the trigger; empty when it has none of that name.
    pub fn param(&self, name: &str) -> String {
        self.meta(&format!("params.{}", name)).unwrap_or_default()
    }

    pub fn id(&self) -> String {
        self.meta("id").unwrap_or_default()
    }

    pub fn source(&self) -> String {
        self.meta("source").unwrap_or_default()
    }

    /// The event's type.
    pub fn kind(&self) -> String {
        self.meta("type").unwrap_or_default()
    }

    /// The topic of a message, the path of a request.
    pub fn subject(&self) -> String {
        self.meta("subject").unwrap_or_default()
    }

    pub fn time(&self) -> String {
        self.meta("time").unwrap_or_default()
    }

    /// 1 at first.
    pub fn attempt(&self) -> u32 {
        self.meta("attempt").and_then(|v| v.parse().ok()).unwrap_or(1)
    }
}

/// How a message is published.
#[derive(Clone, Copy, Debug, Default)]
pub struct Publish {
    /// 0, 1 or 2.
    pub qos: u8,
    pub retain: bool,
    pub expiry: Option<Duration>,
}

/// Level of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug = 0,
    Info = 1,
    Warn = 2,
    Error = 3,
}

/// Whole seconds, rounded up.
pub(crate) fn seconds(d: Duration) -> u32 {
    let whole = d.as_secs() + (d.subsec_nanos() > 0) as u64;
    whole.min(u32::MAX as u64) as u32
}

/// What a handler may do.
pub struct Context(());

impl Context {
    #[doc(hidden)]
    pub fn current() -> Context {
        Context(())
    }

    /// A stored value as it is; `None` when there is none.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        host::kv_get(key)
    }

    /// A stored value decoded.
    pub fn get_json(&self, key: &str) -> Result<Option<Json>> {
        match self.get(key)? {
            None => Ok(None),
            Some(raw) => Ok(Some(Json::parse(std::str::from_utf8(&raw)?)?)),
        }
    }

    pub fn set(&self, key: &str, value: impl Payload) -> Result<()> {
        host::kv_set(key, &value.bytes(), 0)
    }

    /// Stores a value that is gone after a while.
    pub fn set_for(&self, key: &str, value: impl Payload, ttl: Duration) -> Result<()> {
        host::kv_set(key, &value.bytes(), seconds(ttl))
    }

    pub fn delete(&self, key: &str) -> Result<()> {
        host::kv_del(key)
    }

    /// The keys that start with prefix, in order.
    pub fn list(&self, prefix: &str) -> Result<Vec<String>> {
        host::kv_list(prefix)
    }

    /// An object's bytes; `None` when there is none.
    pub fn get_object(&self, bucket: &str, key: &str) -> Result<Option<Vec<u8>>> {
        host::blob_get(&format!("{bucket}/{key}"))
    }

    /// What a bucket has under a key: digest, size, type and modified.
    pub fn stat_object(&self, bucket: &str, key: &str) -> Result<Option<Json>> {
        match host::blob_stat(&format!("{bucket}/{key}"))? {
            None => Ok(None),
            Some(raw) => Ok(Some(Json::parse(std::str::from_utf8(&raw)?)?)),
        }
    }

    /// Fills dst with an object's bytes from offset on; returns how many, 0 at its end.
    pub fn read_object(&self, bucket: &str, key: &str, offset: u64, dst: &mut [u8]) -> Result<usize> {
        host::blob_read(&format!("{bucket}/{key}"), offset, dst)
    }

    /// Puts an object; an empty media type is that of the key's ending. It is
    /// there, and starts functions, when the handler has succeeded.
    pub fn put_object(&self, bucket: &str, key: &str, data: impl Payload, media_type: &str) -> Result<()> {
        host::blob_put(&format!("{bucket}/{key}"), media_type, &data.bytes())
    }

    pub fn delete_object(&self, bucket: &str, key: &str) -> Result<()> {
        host::blob_delete(&format!("{bucket}/{key}"))
    }

    /// The keys of a bucket that start with prefix, in order.
    pub fn list_objects(&self, bucket: &str, prefix: &str) -> Result<Vec<String>> {
        host::blob_list(&format!("{bucket}/{prefix}"))
    }

    pub fn publish(&self, topic: &str, payload: impl Payload) -> Result<()> {
        self.publish_with(topic, payload, Publish::default())
    }

    pub fn publish_with(&self, topic: &str, payload: impl Payload, how: Publish) -> Result<()> {
        host::publish(topic, &payload.bytes(), &how)
    }

    /// Puts a payload on a queue, to be taken after a delay.
    pub fn enqueue(&self, queue: &str, payload: impl Payload, delay: Duration) -> Result<()> {
        host::enqueue(queue, &payload.bytes(), seconds(delay))
    }

    /// Starts another function.
    pub fn invoke(&self, function: &str, payload: impl Payload) -> Result<()> {
        host::invoke(function, &payload.bytes())
    }

    /// Sets the invocation's result.
    pub fn output(&self, value: impl Payload) {
        host::output(&value.bytes())
    }

    /// Sets an attribute of the result: `datacontenttype`, `status`, `header.location`.
    pub fn output_meta(&self, key: &str, value: &str) -> Result<()> {
        host::output_meta(key, value)
    }

    pub fn log(&self, level: Level, text: &str) {
        host::log(level, text)
    }

    pub fn info(&self, text: &str) {
        self.log(Level::Info, text)
    }

    /// Reports a number to graph.
    pub fn metric(&self, name: &str, value: f64) {
        host::metric(name, value)
    }

    /// A value of the manifest's config.
    pub fn config(&self, key: &str) -> Result<Option<Json>> {
        match host::config(key)? {
            None => Ok(None),
            Some(raw) => Ok(Some(Json::parse(std::str::from_utf8(&raw)?)?)),
        }
    }

    /// A secret that the manifest declares; `None` while it is not set.
    pub fn secret(&self, name: &str) -> Result<Option<String>> {
        match host::secret(name)? {
            None => Ok(None),
            Some(raw) => Ok(Some(String::from_utf8(raw)?)),
        }
    }

    /// Milliseconds since 1970. Time stands still while a handler computes.
    pub fn now_ms(&self) -> u64 {
        host::now_ms()
    }

    /// Fills dst with unpredictable bytes, the same in a rerun.
    pub fn random(&self, dst: &mut [u8]) {
        host::random(dst)
    }

    pub fn random_u64(&self) -> u64 {
        let mut b = [0; 8];
        self.random(&mut b);
        u64::from_le_bytes(b)
    }

    /// The value of a sensor that is good and no older than max_age, else an error with `Code::Unavailable`, or
    /// `Code::NotFound` where there is no such sensor.
    pub fn sensor_value(&self, name: &str, max_age: Duration) -> Result<f64> {
        let reading = self.sensor(name)?.ok_or_else(|| Error::refused("sensor_read", name, -1))?;
        let age = reading.get("age_ms").and_then(Json::as_f64).unwrap_or(f64::INFINITY);
        match reading.get("value").and_then(Json::as_f64) {
            Some(v) if age <= max_age.as_millis() as f64 => Ok(v),
            _ => Err(Error::refused("sensor_read", name, -6)),
        }
    }

    /// The latest reading of a sensor: value (only while quality is good), unit, quality, age_ms, at, last, fault,
    /// sensor, seq; `None` where there is no such sensor.
    pub fn sensor(&self, name: &str) -> Result<Option<Json>> {
        match host::sensor(name)? {
            None => Ok(None),
            Some(raw) => Ok(Some(Json::parse(std::str::from_utf8(&raw)?)?)),
        }
    }

    /// Drives an actuator, and returns for how long that was granted.
    pub fn actuate(&self, name: &str, value: impl Payload, lease: Duration) -> Result<Duration> {
        host::actuate(name, &value.bytes(), lease.as_millis().min(u32::MAX as u128) as u32)
    }

    /// Sends an HTTP request.
    pub fn fetch(&self, request: &Request) -> Result<Response> {
        Response::decode(&host::fetch(&request.encode())?)
    }
}

/// Declares the function that handles events, `fn(&Event, &Context) ->
/// Result<impl Output>`, and optionally one that runs once before the first of
/// them: `handler!(handle, init)` with `fn init(&Context) -> Result<()>`.
#[macro_export]
macro_rules! handler {
    ($handle:path) => {
        fn __headgate_no_init(_: &$crate::Context) -> $crate::Result<()> {
            Ok(())
        }
        $crate::handler!($handle, __headgate_no_init);
    };
    ($handle:path, $init:path) => {
        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn headgate_abi_v1() {}

        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn headgate_handle() -> i32 {
            $crate::run_handler($handle)
        }

        #[cfg(target_arch = "wasm32")]
        #[no_mangle]
        pub extern "C" fn headgate_init() -> i32 {
            $crate::run_init($init)
        }
    };
}

#[doc(hidden)]
pub fn run_handler<O: Output>(handle: fn(&Event, &Context) -> Result<O>) -> i32 {
    let ctx = Context(());
    match handle(&Event::current(), &ctx) {
        Ok(o) => {
            o.output(&ctx);
            0
        }
        Err(e) => {
            host::error(&e.message);
            1
        }
    }
}

#[doc(hidden)]
pub fn run_init(init: fn(&Context) -> Result<()>) -> i32 {
    host::prepare();
    match init(&Context(())) {
        Ok(()) => 0,
        Err(e) => {
            host::error(&e.message);
            1
        }
    }
}
