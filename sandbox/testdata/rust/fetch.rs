use headgate::{Context, Event, Request, Result};
use std::time::Duration;

headgate::handler!(handle);

fn handle(_: &Event, ctx: &Context) -> Result<String> {
    let r = Request::new("POST", "https://api.example.org/v1?q=\"1\"").header("Accept", "text/plain").body("hi\nthere").timeout(Duration::from_secs(2));
    let r = ctx.fetch(&r).map_err(|e| format!("permission: {}", e))?;
    Ok(format!("{} {} {}", r.status, r.header("Content-Type").unwrap_or(""), r.body.len()))
}
