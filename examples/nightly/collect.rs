//! Sums up what each probe measures in a day (of UTC): how often, the least,
//! the most and the sum. One small row a day is written again and again; the
//! readings themselves would fill the card.

use headgate::{Context, Event, Json, Result};

headgate::handler!(handle);

fn handle(event: &Event, ctx: &Context) -> Result<()> {
    let data = event.json()?;
    let value = data["value"].as_f64().ok_or("no value in the reading")?;
    let at = data["at"].as_f64().ok_or("no time in the reading")?;
    let key = format!("day/{:06}/{}", (at / 86400.0) as u32, event.param("probe"));

    let row = ctx.get_json(&key)?;
    let old = |name: &str, none: f64| row.as_ref().and_then(|r| r[name].as_f64()).unwrap_or(none);
    let new = Json::object([
        ("n", (old("n", 0.0) + 1.0).into()),
        ("min", old("min", value).min(value).into()),
        ("max", old("max", value).max(value).into()),
        ("sum", (old("sum", 0.0) + value).into()),
    ]);
    ctx.set(&key, new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headgate::testkit::{run, Case};

    fn case(data: &str) -> Case {
        let mut c = Case { data: data.as_bytes().to_vec(), ..Case::default() };
        c.meta.insert("params.probe".to_string(), "barn".to_string());
        c
    }

    #[test]
    fn the_first_reading_of_a_day_makes_a_row() {
        let asked = run(handle, case(r#"{"value":21.5,"at":1767225600}"#));
        assert_eq!(asked.error, None);
        assert_eq!(asked.state["day/020454/barn"], br#"{"n":1,"min":21.5,"max":21.5,"sum":21.5}"#);
    }

    #[test]
    fn nothing_is_kept_without_a_value() {
        let asked = run(handle, case(r#"{"at":1767225600}"#));
        assert_eq!(asked.error.as_deref(), Some("no value in the reading"));
        assert!(asked.state.is_empty());
    }
}
