//! From a put to whoever watches, the same puts for both.

use std::time::{Duration, Instant};

use etcd_client::{Client, WatchOptions};
use portolan::*;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::rounds::Table;

const ROUNDS: usize = 10;
const SAMPLES: usize = 1_000;
/// Between two puts, so that each is news by itself.
const APART: Duration = Duration::from_millis(1);

/// Whoever hears is a process of its own, which is a thread here.
fn elsewhere<F: Future<Output = ()>>(run: impl FnOnce() -> F + Send + 'static) {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(run());
    });
}

pub fn measure(runtime: &Runtime, table: &mut Table, server: &str) {
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let mut client = Client::connect([server], None).await.expect("it connects");
        let mut bare = bare(server.to_owned()).await;
        let mut watched = watched(server.to_owned()).await;
        for round in 0..ROUNDS {
            floor.extend(samples(&mut client, "floor-service", &mut bare, round).await);
            ours.extend(samples(&mut client, "hprose-service", &mut watched, round).await);
        }
    });
    for (share, name, goal) in [(0.5, "p50", f64::INFINITY), (0.99, "p99", 1.5)] {
        let at = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[(times.len() as f64 * share) as usize].as_secs_f64()
        };
        let ratio = at(&mut ours) / at(&mut floor);
        let name = format!("etcd: put to watcher, {name} / put to a bare watch");
        table.figure(&name, ratio, if goal.is_finite() { goal + 0.05 } else { goal });
    }
}

/// Puts one record again and again, another one every time.
async fn samples(
    client: &mut Client,
    root: &str,
    heard: &mut mpsc::Receiver<Instant>,
    round: usize,
) -> Vec<Duration> {
    let mut times = Vec::with_capacity(SAMPLES);
    for sample in 0..SAMPLES {
        let cpu = round * SAMPLES + sample;
        let value =
            format!(r#"{{"UUID":"u","Domain":"d","ServerUrl":"tcp://10.0.0.1:80/","CPU":{cpu}}}"#);
        let begun = Instant::now();
        client.put(format!("{root}/d/u"), value, None).await.expect("it is put");
        let at = heard.recv().await.expect("it is heard");
        times.push(at.saturating_duration_since(begun));
        tokio::time::sleep(APART).await;
    }
    times
}

/// etcd's own watch, and nothing else.
async fn bare(server: String) -> mpsc::Receiver<Instant> {
    let (tell, mut heard) = mpsc::channel(16);
    elsewhere(move || async move {
        let mut client = Client::connect([server], None).await.expect("it connects");
        let options = WatchOptions::new().with_prefix();
        let mut watch = client.watch("floor-service/", Some(options)).await.expect("it watches");
        while let Ok(Some(response)) = watch.message().await {
            if response.created() || !response.events().is_empty() {
                let _ = tell.send(Instant::now()).await;
            }
        }
    });
    heard.recv().await.expect("it watches");
    heard
}

/// A handle's watch.
async fn watched(server: String) -> mpsc::Receiver<Instant> {
    let (tell, mut heard) = mpsc::channel(16);
    elsewhere(move || async move {
        let url = format!("etcd://{server}?dialect=hprose");
        let registry = open(&url).await.expect("it opens");
        let scope = Scope::service(ServiceName::parse("d").expect("a literal"));
        let mut watch = registry.watch(&scope, WatchFrom::Now).await.expect("it watches");
        while let Some(Ok(item)) = watch.next().await {
            if !matches!(item, WatchItem::Progress(_)) {
                let _ = tell.send(Instant::now()).await;
            }
        }
    });
    heard.recv().await.expect("it watches");
    heard
}
