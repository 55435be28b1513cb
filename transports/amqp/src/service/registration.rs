//! An instance's place with discovery: registers, notices that it is pinged no more,
//! registers again, and leaves.
//!
//! Facts: HailoOSS `platform` at 39e911a, `server/discovery.go`.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use registry_api::call::{Call, CallError};
use registry_api::{Result, ServiceName};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::caller::AmqpCaller;
use crate::discovery::model::MultiRequest;
use crate::facts::header;
use crate::names::Prefix;

/// Without a ping for so long, discovery has forgotten us.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two tries to register.
const FIRST_REST: Duration = Duration::from_millis(200);
const MOST_REST: Duration = Duration::from_secs(10);
/// How long discovery may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Registers one instance.
#[derive(Debug)]
pub(super) struct Registration {
    caller: Arc<AmqpCaller>,
    discovery: ServiceName,
    told: MultiRequest,
    silence: Duration,
}

impl Registration {
    pub(super) fn new(
        caller: Arc<AmqpCaller>,
        prefix: &Prefix,
        told: MultiRequest,
    ) -> Result<Self> {
        let discovery = ServiceName::parse(&prefix.name("kernel.discovery"))?;
        Ok(Self { caller, discovery, told, silence: SILENCE })
    }

    /// Goes on for ever: says when it is registered, and when it no longer is.
    pub(super) async fn keep(&self, mut pings: watch::Receiver<()>, is: &watch::Sender<bool>) {
        loop {
            self.register().await;
            is.send_replace(true);
            pings.mark_unchanged();
            while let Ok(Ok(())) = timeout(self.silence, pings.changed()).await {}
            is.send_replace(false);
            tracing::warn!(instance = self.told.instance_id, "discovery is silent; registering");
        }
    }

    async fn register(&self) {
        let mut rest = FIRST_REST;
        while let Err(error) = self.tell("multiregister").await {
            tracing::debug!(%error, "discovery has not registered this instance yet");
            sleep(rest).await;
            rest = (rest * 2).min(MOST_REST);
        }
    }

    /// Discovery notices by itself, later, where it cannot be told.
    pub(super) async fn leave(&self) {
        if let Err(error) = self.tell("unregister").await {
            tracing::debug!(%error, "discovery could not be told that an instance leaves");
        }
    }

    async fn tell(&self, endpoint: &str) -> Result<(), CallError> {
        let call = Call::new(self.discovery.clone(), endpoint, self.told.encode_to_vec().into())
            .with_header(header::AUTHORISED, "1")
            .with_timeout(PATIENCE);
        self.caller.call_service(call).await.map(drop)
    }
}
