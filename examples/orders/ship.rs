//! Tells the warehouse what to pack, and gives each parcel its number.

use headgate::{Context, Event, Json, Publish, Result};

headgate::handler!(handle);

fn handle(event: &Event, ctx: &Context) -> Result<()> {
    let order = event.json()?;
    let text = |key: &str| order[key].as_str().map(str::to_string).ok_or(format!("the order has no {}", key));
    let (id, item) = (text("id")?, text("item")?);
    let amount = order["amount"].as_i64().ok_or("the order has no amount")?;

    // Two parcels that are numbered at the same time do not get the same
    // number: the second invocation is run again.
    let parcel = ctx.get_json("parcels")?.and_then(|v| v.as_i64()).unwrap_or(0) + 1;
    ctx.set("parcels", parcel)?;

    let qos1 = || Publish { qos: 1, ..Publish::default() };
    let pick = Json::object([("parcel", parcel.into()), ("order", id.as_str().into()), ("amount", amount.into())]);
    ctx.publish_with(&format!("warehouse/{}/pick", item), pick, qos1())?;
    let status = Json::object([("status", "shipped".into()), ("parcel", parcel.into())]);
    ctx.publish_with(&format!("orders/{}/status", id), status, qos1())
}
