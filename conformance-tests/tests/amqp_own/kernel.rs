//! RabbitMQ against the kernel.

use std::sync::Arc;

use async_trait::async_trait;
use portolan::Registry;

use super::{Outcome, Place, open};
use crate::amqp::AmqpWorld;
use crate::equal::{Fresh, Side, random_commands};

pub(super) async fn random_commands_have_the_results_of_the_kernel(
    place: &Place,
) -> Result<(), Outcome> {
    random_commands(place).await
}

#[async_trait]
impl Side for Place {
    async fn fresh(&self) -> Result<Box<dyn Fresh>, Outcome> {
        Ok(Box::new(self.world().await?))
    }

    /// Its revisions count what is in the log, barriers and all.
    fn chooses_epochs(&self) -> bool {
        false
    }
}

#[async_trait]
impl Fresh for AmqpWorld {
    async fn open(&self) -> Result<Arc<dyn Registry>, Outcome> {
        open(&self.url()).await
    }
}
