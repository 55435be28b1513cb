//! A connection for one use, to one endpoint at a time: the next one where the
//! last one failed.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error as Fault};
use registry_api::{Applied, Error};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::fault::{Failed, failed, too_late};
use crate::options::EtcdOptions;
use crate::tls;

/// Where etcd is, and how it is spoken to.
pub(crate) struct Endpoints {
    urls: Vec<String>,
    options: ConnectOptions,
    /// The longest one try may take.
    pub(crate) patience: Duration,
}

/// A dead peer is noticed after the sum of both. etcd drops clients that ask more
/// often than every 5 s.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));

impl Endpoints {
    pub(crate) fn new(options: &EtcdOptions) -> Result<Self, Error> {
        let patience = options.timeout / 2;
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(patience)
            .with_keep_alive(PING.0, PING.1)
            .with_keep_alive_while_idle(false)
            .with_auto_token_refresh(true)
            // A member that was cut off from the others must say so.
            .with_require_leader(true);
        if let Some((name, password)) = &options.user {
            connect = connect.with_user(name, password);
        }
        if options.endpoints.iter().any(|url| url.starts_with("https")) {
            connect = connect.with_tls(tls::options(&options.tls)?);
        }
        Ok(Self { urls: options.endpoints.clone(), options: connect, patience })
    }
}

/// A connection that is opened when it is needed.
pub(crate) struct Link {
    endpoints: Arc<Endpoints>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    /// How often it was given up: also which endpoint is next.
    failures: usize,
}

/// A client, and which one it is.
pub(crate) struct Opened {
    pub(crate) client: Client,
    number: usize,
}

impl Link {
    pub(crate) fn new(endpoints: &Arc<Endpoints>) -> Self {
        // Not everybody begins at the same one.
        let failures = fastrand::usize(..endpoints.urls.len());
        let state = Mutex::new(State { client: None, failures });
        Self { endpoints: Arc::clone(endpoints), state }
    }

    /// The longest one try may take.
    pub(crate) fn patience(&self) -> Duration {
        self.endpoints.patience
    }

    /// The client in use, or another one.
    pub(crate) async fn open(&self) -> Result<Opened, Failed> {
        // Whoever comes while another connects in vain must not wait for his own turn.
        let turn = timeout(self.patience(), self.state.lock()).await;
        let mut state = turn.map_err(|_| too_late())?;
        if let Some(client) = &state.client {
            return Ok(Opened { client: client.clone(), number: state.failures });
        }
        let urls = &self.endpoints.urls;
        let url = &urls[state.failures % urls.len()];
        // With a user this asks for a token; else it does nothing yet.
        let connecting = Client::connect([url], Some(self.endpoints.options.clone()));
        let connected = match timeout(self.patience(), connecting).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(too_late()),
        };
        match connected {
            Ok(client) => {
                state.client = Some(client.clone());
                Ok(Opened { client, number: state.failures })
            }
            Err(error) => {
                state.failures += 1;
                // Nothing was asked yet.
                Err(match error {
                    Failed::Unreachable(error) => Failed::Unreachable(error.applied(Applied::No)),
                    refused => refused,
                })
            }
        }
    }

    /// Gives a client up that failed: the next one is for another endpoint.
    pub(crate) async fn give_up(&self, number: usize) {
        let mut state = self.state.lock().await;
        if state.failures == number {
            state.failures += 1;
            state.client = None;
        }
    }

    /// Asks once.
    pub(crate) async fn ask<T, F>(&self, request: impl FnOnce(Client) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let Opened { client, number } = self.open().await?;
        let answer = match timeout(self.patience(), request(client)).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(too_late()),
        };
        if let Err(Failed::Unreachable(_)) = &answer {
            self.give_up(number).await;
        }
        answer
    }

    /// Asks what changes nothing, also another endpoint if the first one fails.
    pub(crate) async fn read<T, F>(&self, request: impl Fn(Client) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        match self.ask(&request).await {
            Err(Failed::Unreachable(_)) => {
                let unchanged = |error: Error| error.applied(Applied::No);
                self.ask(&request).await.map_err(|failed| match failed {
                    Failed::Unreachable(error) => Failed::Unreachable(unchanged(error)),
                    failed => failed,
                })
            }
            done => done,
        }
    }
}

impl Opened {
    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

impl Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("endpoints", &self.endpoints.urls).finish_non_exhaustive()
    }
}
