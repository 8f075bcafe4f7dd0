//! As much JSON as a function needs.

use crate::{Error, Result};
use std::fmt;
use std::ops::Index;

/// A JSON value. Objects keep the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number without fraction and exponent that fits.
    Int(i64),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// How deep arrays and objects may nest.
const MAX_DEPTH: usize = 64;

impl Json {
    /// Reads a JSON text.
    pub fn parse(text: &str) -> Result<Json> {
        let mut p = Parser { text, at: 0 };
        let v = p.value(0)?;
        p.space();
        if p.at < text.len() {
            return p.fault("text after the value");
        }
        Ok(v)
    }

    /// An object of pairs.
    pub fn object<const N: usize>(pairs: [(&str, Json); N]) -> Json {
        let mut list = Vec::with_capacity(N);
        for (k, v) in pairs {
            list.push((k.to_string(), v));
        }
        Json::Object(list)
    }

    /// The value of a key; `None` where there is none.
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(pairs) => pairs.iter().rev().find(|(k, _)| k == key).map(|(_, v)| v),
            _ => None,
        }
    }

    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Json::Int(n) => Some(*n as f64),
            Json::Number(n) => Some(*n),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Json::Int(n) => Some(*n),
            Json::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => Some(*n as i64),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::String(s) => Some(s),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Json::Bool(b) => Some(*b),
            _ => None,
        }
    }

    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Json::Array(list) => Some(list),
            _ => None,
        }
    }
}

static NULL: Json = Json::Null;

/// `v["key"]` is null where there is no such key.
impl Index<&str> for Json {
    type Output = Json;
    fn index(&self, key: &str) -> &Json {
        self.get(key).unwrap_or(&NULL)
    }
}

/// `v[0]` is null where there is no such entry.
impl Index<usize> for Json {
    type Output = Json;
    fn index(&self, i: usize) -> &Json {
        self.as_array().and_then(|list| list.get(i)).unwrap_or(&NULL)
    }
}

impl From<&str> for Json {
    fn from(s: &str) -> Json {
        Json::String(s.to_string())
    }
}

impl From<String> for Json {
    fn from(s: String) -> Json {
        Json::String(s)
    }
}

impl From<bool> for Json {
    fn from(b: bool) -> Json {
        Json::Bool(b)
    }
}

impl From<i64> for Json {
    fn from(n: i64) -> Json {
        Json::Int(n)
    }
}

impl From<i32> for Json {
    fn from(n: i32) -> Json {
        Json::Int(n as i64)
    }
}

impl From<f64> for Json {
    fn from(n: f64) -> Json {
        Json::Number(n)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(b) => write!(f, "{}", b),
            Json::Int(n) => write!(f, "{}", n),
            Json::Number(n) if n.is_finite() => write!(f, "{}", n),
            Json::Number(_) => f.write_str("null"),
            Json::String(s) => write_text(f, s),
            Json::Array(list) => {
                f.write_str("[")?;
                for (i, v) in list.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { "," } else { "" }, v)?;
                }
                f.write_str("]")
            }
            Json::Object(pairs) => {
                f.write_str("{")?;
                for (i, (k, v)) in pairs.iter().enumerate() {
                    f.write_str(if i > 0 { "," } else { "" })?;
                    write_text(f, k)?;
                    write!(f, ":{}", v)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, s: &str) -> fmt::Result {
    f.write_str("\"")?;
    let mut plain = 0;
    for (i, b) in s.bytes().enumerate() {
        if b != b'"' && b != b'\\' && b >= 0x20 {
            continue;
        }
        f.write_str(&s[plain..i])?;
        match b {
            b'"' => f.write_str("\\\"")?,
            b'\\' => f.write_str("\\\\")?,
            b'\n' => f.write_str("\\n")?,
            _ => write!(f, "\\u{:04x}", b)?,
        }
        plain = i + 1;
    }
    f.write_str(&s[plain..])?;
    f.write_str("\"")
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn fault<T>(&self, what: &str) -> Result<T> {
        Err(Error::from(format!("not JSON: {} at byte {}", what, self.at)))
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn take(&mut self, b: u8) -> bool {
        self.space();
        let there = self.peek() == b;
        self.at += there as usize;
        there
    }

    fn value(&mut self, depth: usize) -> Result<Json> {
        if depth > MAX_DEPTH {
            return self.fault("it nests too deep");
        }
        self.space();
        match self.peek() {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => Ok(Json::String(self.string()?)),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.fault("no value"),
        }
    }

    fn word(&mut self, word: &str, v: Json) -> Result<Json> {
        if !self.text[self.at..].starts_with(word) {
            return self.fault("no value");
        }
        self.at += word.len();
        Ok(v)
    }

    fn object(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut pairs = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(pairs));
        }
        loop {
            self.space();
            if self.peek() != b'"' {
                return self.fault("a key must be a string");
            }
            let key = self.string()?;
            if !self.take(b':') {
                return self.fault("a colon is missing");
            }
            pairs.push((key, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(pairs));
            }
            if !self.take(b',') {
                return self.fault("a comma is missing");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json> {
        self.at += 1;
        let mut list = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::Array(list));
            }
            if !self.take(b',') {
                return self.fault("a comma is missing");
            }
        }
    }

    fn digits(&mut self) -> Result<()> {
        if !self.peek().is_ascii_digit() {
            return self.fault("a digit is missing");
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json> {
        let start = self.at;
        self.at += (self.peek() == b'-') as usize;
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.peek() == b'.' {
            self.at += 1;
            whole = false;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            whole = false;
            self.at += matches!(self.peek(), b'+' | b'-') as usize;
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        match text.parse() {
            Ok(n) if whole => Ok(Json::Int(n)),
            _ => Ok(Json::Number(text.parse()?)),
        }
    }

    fn string(&mut self) -> Result<String> {
        self.at += 1;
        let mut s = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), b'"' | b'\\') && self.peek() >= 0x20 {
                self.at += 1;
            }
            s.push_str(&self.text[start..self.at]);
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(s);
                }
                b'\\' => s.push(self.escape()?),
                _ => return self.fault("a string does not end"),
            }
        }
    }

    fn escape(&mut self) -> Result<char> {
        self.at += 2;
        Ok(match self.text.as_bytes().get(self.at - 1).copied().unwrap_or(0) {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            c @ (b'"' | b'\\' | b'/') => c as char,
            b'u' => {
                let high = self.hex()?;
                if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with("\\u") {
                    self.at += 2;
                    let low = self.hex()?;
                    let both = 0x10000 + ((high - 0xd800) << 10) + (low.wrapping_sub(0xdc00) & 0x3ff);
                    return Ok(char::from_u32(both).unwrap_or('\u{fffd}'));
                }
                char::from_u32(high).unwrap_or('\u{fffd}')
            }
            _ => return self.fault("an unknown escape"),
        })
    }

    fn hex(&mut self) -> Result<u32> {
        match self.text.get(self.at..self.at + 4).and_then(|h| u32::from_str_radix(h, 16).ok()) {
            Some(n) => {
                self.at += 4;
                Ok(n)
            }
            None => self.fault("an unknown escape"),
        }
    }
}
