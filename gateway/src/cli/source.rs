//! Where a command reads and writes: a backend, or a running gateway.

use std::sync::Arc;

use clap::Args;
use portolan::Registry;

use super::Failure;
use crate::http_client::HttpClient;

/// A backend directly, or a gateway.
#[derive(Args, Clone, Debug)]
pub(crate) struct Source {
    /// Use this registry backend directly
    #[arg(long, value_name = "URL", conflicts_with = "gateway")]
    backend: Option<String>,
    /// Use this running gateway: its admin address for reading [default:
    /// http://127.0.0.1:4201], its HTTP address for call and connect [default:
    /// http://127.0.0.1:4200]
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// The API key to show to the gateway
    #[arg(long, value_name = "KEY", env = "PORTOLAN_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
}

/// What is behind a [`Source`].
pub(crate) enum Opened {
    Backend(Arc<dyn Registry>),
    Gateway(Box<HttpClient>),
}

impl Source {
    /// Opens it; `default_gateway` is meant where neither is named.
    pub(crate) async fn open(&self, default_gateway: &str) -> Result<Opened, Failure> {
        match &self.backend {
            Some(url) => Ok(Opened::Backend(portolan::open(url).await?)),
            None => {
                let url = self.gateway.as_deref().unwrap_or(default_gateway);
                let client = HttpClient::new(url);
                let client = client.map_err(|_| {
                    Failure::usage(format!("--gateway {url}: must be an http:// URL"))
                })?;
                Ok(Opened::Gateway(Box::new(client)))
            }
        }
    }
}

/// The admin listener of a gateway with default settings.
pub(crate) const ADMIN: &str = "http://127.0.0.1:4201";
/// The HTTP listener of a gateway with default settings.
pub(crate) const HTTP: &str = "http://127.0.0.1:4200";
