/** A JSON value. What is not there is null, so that lookups may be chained. */
export enum Kind { Null, Bool, Number, String, Array, Object }

export class Json {
  kind: Kind = Kind.Null;
  bool: bool = false;
  number: f64 = 0;
  string: string = "";
  array: Json[] = [];
  keys: string[] = [];

  /** Reads a JSON text; null when it is none. */
  static parse(text: string): Json | null {
    const p = new Parser(text);
    const v = p.value(0);
    p.space();
    return p.failed || p.at < text.length ? null : v;
  }

  static fromNumber(n: f64): Json {
    const v = new Json();
    v.kind = Kind.Number;
    v.number = n;
    return v;
  }

  static fromString(s: string): Json {
    const v = new Json();
    v.kind = Kind.String;
    v.string = s;
    return v;
  }

  static fromBool(b: bool): Json {
    const v = new Json();
    v.kind = Kind.Bool;
    v.bool = b;
    return v;
  }

  static object(): Json {
    const v = new Json();
    v.kind = Kind.Object;
    return v;
  }

  static list(): Json {
    const v = new Json();
    v.kind = Kind.Array;
    return v;
  }

  get isNull(): bool { return this.kind == Kind.Null; }
  get isNumber(): bool { return this.kind == Kind.Number; }
  get isString(): bool { return this.kind == Kind.String; }

  /** The value of a key. */
  get(key: string): Json {
    const i = this.keys.lastIndexOf(key);
    return i < 0 ? new Json() : this.array[i];
  }

  /** Entry i of an array. */
  at(i: i32): Json {
    return this.kind == Kind.Array && i >= 0 && i < this.array.length ? this.array[i] : new Json();
  }

  get length(): i32 { return this.array.length; }

  /** Sets a key of an object, and returns the object. */
  set(key: string, value: Json): Json {
    this.keys.push(key);
    this.array.push(value);
    return this;
  }

  push(value: Json): Json {
    this.array.push(value);
    return this;
  }

  toString(): string {
    switch (this.kind) {
      case Kind.Bool: return this.bool ? "true" : "false";
      case Kind.Number: return number(this.number);
      case Kind.String: return quote(this.string);
      case Kind.Array: {
        const parts: string[] = [];
        for (let i = 0; i < this.array.length; i++) parts.push(this.array[i].toString());
        return "[" + parts.join(",") + "]";
      }
      case Kind.Object: {
        const parts: string[] = [];
        for (let i = 0; i < this.array.length; i++) parts.push(quote(this.keys[i]) + ":" + this.array[i].toString());
        return "{" + parts.join(",") + "}";
      }
    }
    return "null";
  }
}

function number(n: f64): string {
  if (!isFinite(n)) return "null";
  return n == Math.floor(n) && Math.abs(n) < 9e15 ? (<i64>n).toString() : n.toString();
}

function quote(s: string): string {
  let out = '"';
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c == 34 || c == 92) out += "\\" + String.fromCharCode(c);
    else if (c == 10) out += "\\n";
    else if (c < 32) out += "\\u" + c.toString(16).padStart(4, "0");
    else out += String.fromCharCode(c);
  }
  return out + '"';
}

const MAX_DEPTH = 64;

class Parser {
  at: i32 = 0;
  failed: bool = false;
  constructor(private text: string) {}

  private peek(): i32 { return this.at < this.text.length ? this.text.charCodeAt(this.at) : 0; }

  space(): void {
    while (true) {
      const c = this.peek();
      if (c != 32 && c != 9 && c != 10 && c != 13) return;
      this.at++;
    }
  }

  private take(c: i32): bool {
    this.space();
    if (this.peek() != c) return false;
    this.at++;
    return true;
  }

  private fail(): Json {
    this.failed = true;
    return new Json();
  }

  value(depth: i32): Json {
    this.space();
    if (depth > MAX_DEPTH || this.failed) return this.fail();
    const c = this.peek();
    if (c == 123) return this.members(depth, true);
    if (c == 91) return this.members(depth, false);
    if (c == 34) return Json.fromString(this.text_());
    if (this.word("true")) return Json.fromBool(true);
    if (this.word("false")) return Json.fromBool(false);
    if (this.word("null")) return new Json();
    return this.number();
  }

  private word(w: string): bool {
    if (!this.text.startsWith(w, this.at)) return false;
    this.at += w.length;
    return true;
  }

  private members(depth: i32, keyed: bool): Json {
    const v = keyed ? Json.object() : Json.list();
    const end = keyed ? 125 : 93;
    this.at++;
    if (this.take(end)) return v;
    while (!this.failed) {
      if (keyed) {
        this.space();
        if (this.peek() != 34) return this.fail();
        v.keys.push(this.text_());
        if (!this.take(58)) return this.fail();
      }
      v.array.push(this.value(depth + 1));
      if (this.take(end)) return v;
      if (!this.take(44)) return this.fail();
    }
    return v;
  }

  private digits(): bool {
    const start = this.at;
    while (this.peek() >= 48 && this.peek() <= 57) this.at++;
    return this.at > start;
  }

  private number(): Json {
    const start = this.at;
    if (this.peek() == 45) this.at++;
    if (!this.digits()) return this.fail();
    if (this.peek() == 46) {
      this.at++;
      if (!this.digits()) return this.fail();
    }
    if (this.peek() == 101 || this.peek() == 69) {
      this.at++;
      if (this.peek() == 43 || this.peek() == 45) this.at++;
      if (!this.digits()) return this.fail();
    }
    return Json.fromNumber(parseFloat(this.text.substring(start, this.at)));
  }

  private text_(): string {
    let out = "";
    let start = ++this.at;
    while (this.at < this.text.length) {
      const c = this.peek();
      if (c < 32) break;
      if (c == 34) {
        out += this.text.substring(start, this.at++);
        return out;
      }
      this.at++;
      if (c != 92) continue;
      out += this.text.substring(start, this.at - 1);
      const e = this.peek();
      this.at++;
      if (e == 117) {
        out += String.fromCharCode(<i32>parseInt(this.text.substring(this.at, this.at + 4), 16));
        this.at += 4;
      } else {
        const i = "nrtbf".indexOf(String.fromCharCode(e));
        out += i >= 0 ? "\n\r\t\b\f".charAt(i) : String.fromCharCode(e);
      }
      start = this.at;
    }
    this.failed = true;
    return out;
  }
}
