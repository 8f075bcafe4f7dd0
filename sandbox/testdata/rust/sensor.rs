use headgate::{Code, Context, Event, Result};
use std::time::Duration;

headgate::handler!(handle);

fn handle(_: &Event, ctx: &Context) -> Result<String> {
    let code = |name: &str, seconds: u64| match ctx.sensor_value(name, Duration::from_secs(seconds)) {
        Err(e) if e.code == Code::Unavailable => "UNAVAILABLE",
        Err(e) if e.code == Code::NotFound => "NOT_FOUND",
        Err(e) if e.code == Code::Denied => "DENIED",
        _ => "?",
    };
    let v = ctx.sensor_value("soil-1", Duration::from_secs(60))?;
    Ok(format!("{} {} {} {} {}", v, code("soil-old", 30), code("soil-bad", 3600), code("soil-none", 1), code("air", 1)))
}
