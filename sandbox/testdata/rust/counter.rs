use headgate::{Context, Event, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

static COUNTER: AtomicUsize = AtomicUsize::new(0);

headgate::handler!(handle);

fn handle(event: &Event, ctx: &Context) -> Result<usize> {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed) + 1;
    let kept: &'static mut [u8] = Box::leak(vec![n as u8; 4000].into_boxed_slice());
    match event.text()? {
        "random" => Ok((0..4).fold(0, |a, _| a ^ ctx.random_u64() as usize)),
        "trap" => panic!("asked to trap"),
        "fail" => Err("asked to fail".into()),
        _ => Ok(kept[3999] as usize),
    }
}
