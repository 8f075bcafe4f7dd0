use headgate::{Code, Context, Event, Result};

headgate::handler!(handle);

fn handle(_: &Event, ctx: &Context) -> Result<String> {
    let a = String::from_utf8_lossy(&ctx.get_object("camera", "in/a.txt")?.unwrap_or_default()).into_owned();
    let mut part = [0u8; 5];
    ctx.read_object("camera", "in/a.txt", 6, &mut part)?;
    let about = ctx.stat_object("camera", "in/a.txt")?.ok_or("no stat")?;
    ctx.put_object("thumbs", "copy.txt", format!("copy of {a}"), "text/x-copy")?;
    ctx.delete_object("camera", "in/b.bin")?;
    let own = ctx.get_object("thumbs", "copy.txt")?.unwrap_or_default().len();
    let keys = ctx.list_objects("camera", "in/")?.join(",");
    let missing = if ctx.get_object("camera", "none")?.is_none() { "none" } else { "some" };
    let denied = match ctx.put_object("other", "x", "y", "") {
        Err(e) if e.code == Code::Denied => "denied",
        _ => "allowed",
    };
    Ok(format!("{}|{}|{}|{}|{}|{}|{}", a, String::from_utf8_lossy(&part), about["size"], own, keys, missing, denied))
}
