//! Wrong keys: how many are refused in a second by one thread.

use std::sync::Arc;
use std::time::Instant;

use portolan::access::{Access, Action, Credential};
use portolan::{KeyAccess, SystemClock};

use crate::calls::one_thread;
use crate::rounds::Table;

const WRONG: usize = 100_000;
const AT_A_TIME: usize = 10_000;

pub fn measure(table: &mut Table) {
    let runtime = one_thread();
    let took = runtime.block_on(runtime.spawn(async {
        let registry = portolan::open("memory:").await.expect("memory");
        let access = Arc::new(KeyAccess::new(registry, Arc::new(SystemClock), None));
        let begun = Instant::now();
        for round in 0..WRONG / AT_A_TIME {
            let refused = (0..AT_A_TIME).map(|number| {
                let access = Arc::clone(&access);
                tokio::spawn(async move {
                    let key = Credential::key(format!("wrong-key-{round}-{number}"));
                    access.authorize(&key, &Action::Read).await.expect_err("wrong");
                })
            });
            for refused in refused.collect::<Vec<_>>() {
                refused.await.expect("refused");
            }
        }
        begun.elapsed().as_secs_f64()
    }));
    let each = took.expect("it ends") * 1e6 / WRONG as f64;
    table.figure("wrong keys: microseconds each, by one thread", each, 50.0);
}
