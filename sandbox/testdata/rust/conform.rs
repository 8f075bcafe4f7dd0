use headgate::{Code, Context, Event, Json, Publish, Result};
use std::time::Duration;

headgate::handler!(handle, init);

fn init(ctx: &Context) -> Result<()> {
    match ctx.config("target")?.and_then(|v| v.as_i64()) {
        Some(32) => Ok(()),
        other => Err(format!("config in init: {:?}", other).into()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<()> {
    if got != want {
        return Err(format!("{}: {:?}, want {:?}", what, got, want).into());
    }
    Ok(())
}

fn code<T>(r: Result<T>) -> Option<Code> {
    r.err().map(|e| e.code)
}

fn handle(event: &Event, ctx: &Context) -> Result<String> {
    same("input", event.json()?["value"].as_f64(), Some(-275.0))?;
    same("text", event.text()?, "{\"value\": -27.5e1}")?;
    same("params", event.param("field"), "3".to_string())?;
    same("meta", (event.meta("nothing"), event.id()), (None, String::new()))?;
    same("config", ctx.config("mode")?, Some(Json::from("on")))?;
    same("no config", ctx.config("none")?, None)?;
    same("missing", ctx.get("missing")?, None)?;
    same("denied", code(ctx.get("other:x")), Some(Code::Denied))?;
    let runs = ctx.get_json("runs")?.and_then(|v| v.as_i64()).unwrap_or(0);
    ctx.set("runs", runs + 1)?;
    ctx.set_for("soil-1", 1, Duration::from_millis(59_500))?;
    ctx.delete("old")?;
    same("own write", ctx.get("runs")?, Some(b"42".to_vec()))?;
    ctx.publish_with("farm/3/valve", "open", Publish { qos: 1, retain: true, expiry: Some(Duration::from_secs(90)) })?;
    same("publish", code(ctx.publish("secret/x", "")), Some(Code::Denied))?;
    ctx.enqueue("jobs", Json::object([("a", 1.into())]), Duration::from_secs(5))?;
    ctx.invoke("other", "hi")?;
    same("secret", (ctx.secret("k")?, ctx.secret("unset")?), (Some("s3cret".to_string()), None))?;
    same("secrets", code(ctx.secret("other")), Some(Code::Denied))?;
    same("now", ctx.now_ms() > 1_600_000_000_000, true)?;
    same("random", ctx.random_u64() == ctx.random_u64(), false)?;
    same("sensor", code(ctx.sensor("soil")), Some(Code::Denied))?;
    ctx.metric("moisture", 27.5);
    ctx.info("conform");
    ctx.output_meta("kind", "test")?;
    Ok(ctx.list("")?.join(" ") + " ")
}
