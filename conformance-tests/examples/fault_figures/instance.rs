//! What an instance does with calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use portolan::call::{Call, CallError, Handler, Reply};
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::greeter::greeter_server::Greeter;
use crate::greeter::{Hello, Reply as Greeting};

/// How an instance is; it can be changed from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mode(Arc<AtomicU8>);

impl Mode {
    pub(crate) const FROZEN: u8 = 1;
    pub(crate) const SLOW: u8 = 2;

    pub(crate) fn set(&self, mode: u8) {
        self.0.store(mode, Ordering::Relaxed);
    }

    async fn act(&self) {
        match self.0.load(Ordering::Relaxed) {
            Self::FROZEN => std::future::pending().await,
            Self::SLOW => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}

/// Answers after as long as its mode says.
#[derive(Clone, Debug)]
pub(crate) struct Greets(pub(crate) Mode);

#[async_trait]
impl Handler for Greets {
    async fn handle(&self, call: Call) -> Result<Reply, CallError> {
        self.0.act().await;
        Ok(Reply::new(call.payload))
    }
}

#[tonic::async_trait]
impl Greeter for Greets {
    async fn say_hello(&self, request: Request<Hello>) -> Result<Response<Greeting>, Status> {
        self.0.act().await;
        Ok(Response::new(Greeting { message: request.into_inner().name }))
    }

    type RepeatStream = BoxStream<Greeting>;

    async fn repeat(&self, _: Request<Hello>) -> Result<Response<BoxStream<Greeting>>, Status> {
        Err(Status::unimplemented("once is enough"))
    }
}
