//! How a client gets its handles: as often as it needs one.

use std::fmt::{self, Debug};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use registry_api::{Clock, Registry, Result};

use crate::open::{is_in_process, open_with};

type Open = dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Registry>>> + Send + Sync;

/// Opens handles on one registry, one after the other: all of them see the same
/// instances. Cloning shares it.
#[derive(Clone)]
pub struct Opener(Arc<Open>);

impl Opener {
    /// Opens what a URL names. A registry within this process, such as
    /// `memory:`, is opened once and shared.
    pub async fn url(url: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        if is_in_process(url) {
            let shared = open_with(url, clock).await?;
            return Ok(Self::factory(move || std::future::ready(Ok(Arc::clone(&shared)))));
        }
        let url: Arc<str> = url.into();
        Ok(Self::factory(move || {
            let (url, clock) = (Arc::clone(&url), Arc::clone(&clock));
            async move { open_with(&url, clock).await }
        }))
    }

    /// Opens what `open` opens: another handle each time, on the runtime that
    /// it is called on.
    pub fn factory<F, Fut>(open: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Arc<dyn Registry>>> + Send + 'static,
    {
        Self(Arc::new(move || open().boxed()))
    }

    /// One more handle.
    pub async fn open(&self) -> Result<Arc<dyn Registry>> {
        (self.0)().await
    }
}

impl Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opener") // A URL may hold a password.
    }
}
