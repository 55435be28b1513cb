//! Calls that belong together: a service keeps something for its caller, so all of them
//! go to the instance that had the first.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use registry_api::call::{Call, CallError, CallErrorKind, Caller, Peer, Reply};
use registry_api::{Address, ErrorKind, ServiceName};

use crate::caller::AmqpCaller;

/// Calls one instance of a service, wherever it is: the broker chooses it at the first
/// call, and another one when it is gone or does not answer. Addresses are not looked
/// at.
#[derive(Debug)]
pub struct OneInstance {
    caller: AmqpCaller,
    service: ServiceName,
    /// The queue of the instance.
    chosen: Mutex<Option<String>>,
}

impl OneInstance {
    /// The instances of `service`, whatever service a call names.
    pub fn new(caller: AmqpCaller, service: ServiceName) -> Self {
        Self { caller, service, chosen: Mutex::default() }
    }

    fn chosen(&self) -> MutexGuard<'_, Option<String>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Caller for OneInstance {
    fn speaks(&self, _: &Address) -> bool {
        true
    }

    async fn call(&self, _: Peer<'_>, mut call: Call) -> Result<Reply, CallError> {
        call.service = self.service.clone();
        let chosen = self.chosen().clone();
        if let Some(queue) = chosen {
            match self.caller.call_queue(&queue, &call).await {
                Err(error) if is_of_the_instance(&error) => {
                    self.chosen().take_if(|chosen| *chosen == queue);
                    if error.may_have_run() {
                        return Err(error);
                    }
                }
                answered => return answered,
            }
        }
        let answering = self.caller.call_service(call).await?;
        if !answering.instance.is_empty() {
            *self.chosen() = Some(answering.instance);
        }
        Ok(answering.reply)
    }
}

/// Whether another instance may do better.
fn is_of_the_instance(error: &CallError) -> bool {
    matches!(
        error.kind(),
        CallErrorKind::WrongInstance
            | CallErrorKind::Registry(ErrorKind::Unavailable | ErrorKind::Timeout)
    )
}
