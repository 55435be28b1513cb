//! `portolan gateway`: runs until told to stop.

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, out};
use crate::config::{Config, Flags};
use crate::gateway::{Gateway, StartError};

pub(super) async fn run(flags: Flags) -> Result<(), Failure> {
    let config = Config::settle(flags).map_err(Failure::usage)?;
    tracing::info!(backend = portolan::redact(&config.backend), "opening the registry");
    let gateway = Gateway::start(&config).await?;
    let thrift = gateway.thrift.map_or_else(String::new, |address| format!(" thrift={address}"));
    let easyops =
        gateway.easyops.map_or_else(String::new, |[plain, _]| format!(" easyops={plain}"));
    out::line(format_args!(
        "portolan gateway ready http={} grpc={} admin={}{thrift}{easyops}",
        gateway.http, gateway.grpc, gateway.admin
    ));
    until_told_to_stop().await;
    tracing::info!("draining");
    gateway.stop().await;
    Ok(())
}

/// Returns at SIGTERM or Ctrl-C. From then on a second one ends the process.
pub(super) async fn until_told_to_stop() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        std::process::exit(1);
    });
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Bind(..) => Self::failed(error.to_string()),
            StartError::Broker(_) => Self::failed(error.to_string()),
            StartError::Registry(error) => error.into(),
        }
    }
}
