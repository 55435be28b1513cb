//! From a change that is acknowledged to the watcher in another process's place.

use std::time::{Duration, Instant};

use portolan::*;
use sqlx::postgres::PgListener;
use sqlx::{Connection, PgConnection};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::{Place, open, spec};
use crate::rounds::Table;

const ROUNDS: usize = 10;
const SAMPLES: usize = 1_000;
/// Whoever hears is a process of its own, which is a thread here, as whoever
/// writes is.
fn elsewhere<F: Future<Output = ()>>(run: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run());
    });
}

/// Between two changes, so that each is news by itself.
const APART: Duration = Duration::from_millis(1);

pub fn measure(runtime: &Runtime, table: &mut Table, place: &Place) {
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let mut bare = Bare::open(place).await;
        let mut handles = Handles::open(place).await;
        for _ in 0..ROUNDS {
            floor.extend(bare.round().await);
            ours.extend(handles.round().await);
        }
    });
    for (share, name, goal) in [(0.5, "p50", f64::INFINITY), (0.99, "p99", 1.5)] {
        let at = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[(times.len() as f64 * share) as usize].as_secs_f64()
        };
        let ratio = at(&mut ours) / at(&mut floor);
        let name = format!("postgres: change to watcher, {name} / NOTIFY to LISTEN and one query");
        table.figure(&name, ratio, if goal.is_finite() { goal + 0.05 } else { goal });
    }
}

/// Notifications and a query, and nothing else.
struct Bare {
    writer: PgConnection,
    heard: mpsc::Receiver<Instant>,
    number: i64,
}

impl Bare {
    async fn open(place: &Place) -> Self {
        let mut writer = PgConnection::connect(&place.url).await.expect("it is there");
        for text in [
            "DROP TABLE IF EXISTS floor_changes",
            "CREATE TABLE floor_changes (position BIGINT PRIMARY KEY, entries TEXT NOT NULL)",
        ] {
            sqlx::query(text).execute(&mut writer).await.expect("a table");
        }
        let (tell, mut heard) = mpsc::channel(16);
        let url = place.url.clone();
        elsewhere(move || async move {
            let mut listener = PgListener::connect(&url).await.expect("it listens");
            listener.listen("floor").await.expect("it listens");
            let mut reader = PgConnection::connect(&url).await.expect("it is there");
            let _ = tell.send(Instant::now()).await;
            let mut position = 0_i64;
            while listener.recv().await.is_ok() {
                let text = "SELECT position, entries FROM floor_changes WHERE position > $1";
                let rows: Vec<(i64, String)> =
                    sqlx::query_as(text).bind(position).fetch_all(&mut reader).await.expect("rows");
                let now = Instant::now();
                for (at, _) in rows {
                    position = at;
                    let _ = tell.send(now).await;
                }
            }
        });
        heard.recv().await.expect("it listens");
        Self { writer, heard, number: 0 }
    }

    async fn round(&mut self) -> Vec<Duration> {
        let mut times = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            self.number += 1;
            let mut change = self.writer.begin().await.expect("a transaction");
            sqlx::query("INSERT INTO floor_changes (position, entries) VALUES ($1, $2)")
                .bind(self.number)
                .bind("x".repeat(300))
                .execute(&mut *change)
                .await
                .expect("a row");
            let notify = sqlx::query("SELECT pg_notify('floor', '1')");
            notify.execute(&mut *change).await.expect("a notification");
            change.commit().await.expect("a commit");
            let acknowledged = Instant::now();
            let heard = self.heard.recv().await.expect("it is heard");
            times.push(heard.saturating_duration_since(acknowledged));
            tokio::time::sleep(APART).await;
        }
        times
    }
}

/// One handle writes, another watches, as in two processes.
struct Handles {
    writer: std::sync::Arc<dyn Registry>,
    heard: mpsc::Receiver<Instant>,
    weight: u32,
}

impl Handles {
    async fn open(place: &Place) -> Self {
        let writer = open(place).await;
        let (tell, mut heard) = mpsc::channel(16);
        let url = place.url.clone();
        elsewhere(move || async move {
            let reader = portolan::open(&url).await.expect("it opens");
            let scope = Scope::service(ServiceName::parse("s").expect("a literal"));
            let mut watch = reader.watch(&scope, WatchFrom::Now).await.expect("it watches");
            while let Some(Ok(item)) = watch.next().await {
                if !matches!(item, WatchItem::Progress(_)) {
                    let _ = tell.send(Instant::now()).await;
                }
            }
        });
        heard.recv().await.expect("it watches");
        Self { writer, heard, weight: 1 }
    }

    async fn round(&mut self) -> Vec<Duration> {
        let mut times = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            self.weight += 1;
            self.writer.connect_one(spec("news", self.weight)).await.expect("it connects");
            let acknowledged = Instant::now();
            let heard = self.heard.recv().await.expect("it is heard");
            times.push(heard.saturating_duration_since(acknowledged));
            tokio::time::sleep(APART).await;
        }
        times
    }
}
