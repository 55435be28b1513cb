//! Calls that come as gRPC, from clients and from services up their streams: finds
//! the service that a path means.

use std::sync::Arc;

use async_trait::async_trait;
use portolan::call::{CallError, CallErrorKind, Reply};
use portolan::grpc::{Dispatch, Incoming};
use portolan::{ErrorKind, ServiceName};

use crate::control::Plane;
use crate::dispatch::{DispatchError, Dispatcher, Followed};
use crate::metrics::Metrics;
use crate::vouch::Voucher;

/// The calls of a gateway that are protobuf already.
#[derive(Debug)]
pub(crate) struct Rpc {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) voucher: Arc<Voucher>,
    pub(crate) metrics: Arc<Metrics>,
}

#[async_trait]
impl Dispatch for Rpc {
    async fn dispatch(&self, incoming: Incoming) -> Result<Reply, CallError> {
        let outcome = self.call(incoming).await;
        self.metrics.call(match &outcome {
            Ok(_) => "ok",
            Err(error) => match error.kind() {
                CallErrorKind::Application => "exception",
                CallErrorKind::NoInstance => "no instance",
                CallErrorKind::Registry(ErrorKind::NotFound) => "unknown",
                _ => "call failed",
            },
        });
        outcome
    }
}

impl Rpc {
    pub(crate) fn of(plane: &Plane) -> Self {
        Self {
            dispatcher: Arc::clone(&plane.dispatcher),
            voucher: Arc::clone(&plane.voucher),
            metrics: Arc::clone(&plane.metrics),
        }
    }

    async fn call(&self, mut incoming: Incoming) -> Result<Reply, CallError> {
        self.voucher.vouch_in(&mut incoming.headers)?;
        let (service, followed) = self.find(&incoming).await?;
        followed.protobuf.call(incoming.call(service)).await
    }

    async fn find(&self, incoming: &Incoming) -> Result<(ServiceName, Arc<Followed>), CallError> {
        let found = self.dispatcher.first_known(incoming.candidates()).await;
        found.map_err(|error| match error {
            DispatchError::Registry(error) => CallError::new(error.kind().into(), error.message()),
            _ => {
                let reason = format!("Service '{}' not found in registry", incoming.interface());
                CallError::new(ErrorKind::NotFound.into(), reason).not_run()
            }
        })
    }
}
