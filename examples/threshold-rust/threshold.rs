//! Publishes {"high":true} when a reading passes config.high, {"high":false}
//! when it is config.hysteresis below it again, and nothing in between.

use headgate::{Context, Event, Json, Publish, Result};

headgate::handler!(handle);

fn handle(event: &Event, ctx: &Context) -> Result<()> {
    let value = event.json()?["value"].as_f64().ok_or("no value in the event")?;
    let number = |key| -> Result<Option<f64>> { Ok(ctx.config(key)?.and_then(|v| v.as_f64())) };
    let mut limit = number("high")?.ok_or("config.high is missing")?;
    let sensor = event.param("sensor");
    let was = ctx.get(&sensor)?.is_some(); // there is a key while it is high
    if was {
        limit -= number("hysteresis")?.unwrap_or(0.0);
    }
    let high = value > limit;
    if high == was {
        return Ok(());
    }
    if high {
        ctx.set(&sensor, 1)?;
    } else {
        ctx.delete(&sensor)?;
    }
    let alarm = Json::object([("high", high.into()), ("value", value.into())]);
    ctx.publish_with(&format!("alarms/{}", sensor), alarm, Publish { qos: 1, retain: true, ..Publish::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate::testkit::{run, Case};

    fn case(data: &str) -> Case {
        let mut c = Case { data: data.as_bytes().to_vec(), ..Case::default() };
        c.meta.insert("params.sensor".to_string(), "barn".to_string());
        c.config.insert("high".to_string(), "25".to_string());
        c
    }

    #[test]
    fn a_high_reading_raises_the_alarm() {
        let asked = run(handle, case(r#"{"value":26.75}"#));
        assert_eq!(asked.error, None);
        assert_eq!(asked.published[0].payload, br#"{"high":true,"value":26.75}"#);
        assert!(asked.published[0].retain);
        assert_eq!(asked.state["barn"], b"1");
    }

    #[test]
    fn nothing_happens_without_a_value() {
        let asked = run(handle, case("{}"));
        assert_eq!(asked.error.as_deref(), Some("no value in the event"));
        assert!(asked.published.is_empty() && asked.state.is_empty());
    }
}
