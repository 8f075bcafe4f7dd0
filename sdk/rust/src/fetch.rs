//! Outgoing HTTP: a head in JSON on one line, then the body, both ways.

use crate::{Error, Json, Payload, Result};
use std::time::Duration;

/// A request to send.
pub struct Request {
    pub url: String,
    pub method: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
    pub timeout: Option<Duration>,
}

impl Request {
    pub fn new(method: &str, url: &str) -> Request {
        Request { url: url.to_string(), method: method.to_string(), headers: Vec::new(), body: None, timeout: None }
    }

    pub fn get(url: &str) -> Request {
        Request::new("GET", url)
    }

    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_string(), value.to_string()));
        self
    }

    /// Sets the body, and for JSON the content type.
    pub fn body(mut self, body: impl Payload) -> Request {
        if !body.content_type().is_empty() {
            self = self.header("content-type", body.content_type());
        }
        self.body = Some(body.bytes().into_owned());
        self
    }

    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let pair = |(k, v): &(String, String)| Json::Array(vec![Json::from(k.as_str()), Json::from(v.as_str())]);
        let mut head = vec![
            ("url".to_string(), Json::from(self.url.as_str())),
            ("method".to_string(), Json::from(self.method.as_str())),
            ("headers".to_string(), Json::Array(self.headers.iter().map(pair).collect())),
        ];
        if let Some(t) = self.timeout {
            head.push(("timeout_ms".to_string(), Json::from(t.as_millis() as i64)));
        }
        let mut request = Json::Object(head).to_string().into_bytes();
        if let Some(body) = &self.body {
            request.push(b'\n');
            request.extend_from_slice(body);
        }
        request
    }
}

/// What came back.
pub struct Response {
    pub status: u16,
    pub url: String,
    /// Names are in lower case, each value apart.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) fn decode(raw: &[u8]) -> Result<Response> {
        let end = raw.iter().position(|b| *b == b'\n').unwrap_or(raw.len());
        let head = Json::parse(std::str::from_utf8(&raw[..end])?)?;
        let mut headers = Vec::new();
        for pair in head["headers"].as_array().unwrap_or(&[]) {
            headers.push((pair[0].as_str().unwrap_or("").to_string(), pair[1].as_str().unwrap_or("").to_string()));
        }
        Ok(Response {
            status: head["status"].as_i64().ok_or_else(|| Error::from("fetch: the answer has no status"))? as u16,
            url: head["url"].as_str().unwrap_or("").to_string(),
            headers,
            body: raw.get(end + 1..).unwrap_or(&[]).to_vec(),
        })
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(k, _)| k.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    pub fn text(&self) -> Result<&str> {
        Ok(std::str::from_utf8(&self.body)?)
    }

    pub fn json(&self) -> Result<Json> {
        Json::parse(self.text()?)
    }
}
