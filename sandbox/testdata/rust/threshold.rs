use headgate::{Context, Event, Json, Result};

headgate::handler!(handle);

fn handle(event: &Event, ctx: &Context) -> Result<()> {
    let value = event.json()?["value"].as_f64().ok_or("no value")?;
    if value > 25.0 {
        ctx.publish("alarm/gw-17", Json::object([("v", value.into())]))?;
    }
    Ok(())
}
