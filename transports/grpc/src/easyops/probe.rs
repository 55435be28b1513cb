//! Asks servers how they are, beside what they say of themselves when they register.
//! Facts: yacloud-software/registry at 1e4b61e3, `registryimpl/`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use registry_api::{InstanceRef, InstanceSpec};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::common::Health;
use super::dial;
use super::record;
use super::registry::EasyopsRegistry;

/// How often servers are asked, unless somebody says otherwise.
pub const PROBED_EVERY: Duration = Duration::from_secs(30);
/// The first time comes sooner.
const FIRST: Duration = Duration::from_secs(2);
/// Between two rounds at least.
const LEAST: Duration = Duration::from_millis(10);
/// How many are asked at a time.
const AT_ONCE: usize = 10;
/// Failures after which a server is taken out: they only add up.
const MOST: u32 = 10;
/// How long one may take to answer, and the longest answer.
const WITHIN: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 4096;
/// Where servers say how they are; older ones know the later paths.
const PATHS: [&str; 3] = ["/internal/health", "/internal/healthz", "/internal/service-info/name"];

impl EasyopsRegistry {
    /// Asks the servers that registered here how they are, again and again, and takes
    /// out those that do not say so more than ten times in all. Runs until it is dropped.
    pub async fn probe(self: Arc<Self>, every: Duration) {
        let Ok(tls) = dial::anybody(&[]) else { return };
        let mut failures = HashMap::new();
        sleep(FIRST.min(every)).await;
        loop {
            self.probe_all(&tls, &mut failures).await;
            sleep(every.max(LEAST)).await;
        }
    }

    async fn probe_all(&self, tls: &TlsConnector, failures: &mut HashMap<InstanceRef, u32>) {
        let all = self.probed();
        failures.retain(|life, _| all.iter().any(|(known, ..)| known == life));
        let asked = all.into_iter().map(|(life, host, port)| async move {
            (life, timeout(WITHIN, is_well(tls, &host, port)).await.unwrap_or(false))
        });
        let mut asked = stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((life, well)) = asked.next().await {
            if well {
                continue;
            }
            let failed = failures.entry(life.clone()).or_default();
            *failed += 1;
            if *failed > MOST {
                tracing::info!(id = %life.id, failed, "a server does not say how it is");
                self.take_out(&life).await;
                failures.remove(&life);
            }
        }
    }
}

/// Where an instance is asked; none for one without a status.
pub(super) fn target(spec: &InstanceSpec) -> Option<(String, u16)> {
    record::has_status(spec).then(|| record::place(spec)).flatten()
}

/// Whether a server says how it is, in a word that is known.
async fn is_well(tls: &TlsConnector, host: &str, port: u16) -> bool {
    for path in PATHS {
        match ask(tls, host, port, path).await {
            Ok((StatusCode::OK, word)) => return path == PATHS[2] || is_known(&word),
            Ok((StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND, _)) => {}
            Ok(_) | Err(_) => return false,
        }
    }
    false
}

/// An enum's name; `OK` is that of older servers.
fn is_known(word: &str) -> bool {
    word == "OK" || Health::from_str_name(word).is_some()
}

async fn ask(
    tls: &TlsConnector,
    host: &str,
    port: u16,
    path: &str,
) -> io::Result<(StatusCode, String)> {
    let stream = TcpStream::connect((host, port)).await?;
    // An address, as theirs does: it goes without a name in the handshake.
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = tls.connect(name, stream).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let mut running = JoinSet::new();
    running.spawn(connection);
    let request = Request::get(path).header("host", format!("{host}:{port}"));
    let request = request.body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
}
