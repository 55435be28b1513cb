//! All rows on one private broker.

mod bare;
mod picks;
mod reads;
mod writes;

use conformance_tests::servers::{Recipe, rabbitmq};
use futures_util::future::try_join_all;
use tokio::runtime::Runtime;

use crate::rounds::Table;

pub fn measure(runtime: &Runtime, table: &mut Table) {
    let broker = rabbitmq(&Recipe::default()).unwrap_or_else(|absent| panic!("{absent:?}"));
    let address = broker.address().to_string();
    for group in [writes::measure, reads::measure, picks::measure] {
        group(runtime, table, &address);
    }
}

/// Runs `operations` in closed loops, so many of them at a time.
async fn loops<F: Future<Output = ()>>(operations: u64, at_once: u64, run: impl Fn() -> F) {
    let run = &run;
    let one = |number: u64| async move {
        let share = operations / at_once + u64::from(number < operations % at_once);
        for _ in 0..share {
            run().await;
        }
        Ok::<_, std::convert::Infallible>(())
    };
    let Ok(_) = try_join_all((0..at_once).map(one)).await;
}
