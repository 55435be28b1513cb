//! RabbitMQ as a target: in real time, on private brokers, behind connections that
//! can be cut.

// Each test program uses its part.
#![allow(dead_code, unused_imports)]

mod world;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use backend_amqp::{AmqpOptions, AmqpRegistry};
use conformance_tests::servers::{MovedClock, RabbitMq, Recipe, rabbitmq};
use conformance_tests::{Absent, Target, World};
use portolan::{Capabilities, Capability, Info, Limits, Namespace, Registry, Result, SystemClock};

pub(crate) use self::world::{AmqpWorld, random};

/// Short, so that cases about slow readers are quick.
pub(crate) const HISTORY: usize = 512;

/// One broker for all cases that do it no harm.
#[derive(Debug, Default)]
pub(crate) struct AmqpTarget {
    shared: OnceLock<Result<Arc<RabbitMq>, Absent>>,
}

#[async_trait]
impl Target for AmqpTarget {
    fn name(&self) -> &str {
        "amqp"
    }

    fn info(&self) -> Info {
        let all = Capability::ALL.into_iter().fold(Capabilities::none(), Capabilities::with);
        Info::new("amqp", all, Limits::new())
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        let broker = self.shared.get_or_init(|| start(&Recipe::default())).clone()?;
        Ok(Box::new(AmqpWorld::open(broker).await?))
    }

    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        let clock = MovedClock::new()?;
        let recipe = Recipe { clock: Some(clock.file().to_owned()), ..Recipe::default() };
        Ok(Box::new(alone(&recipe).await?.with_clock(clock)))
    }
}

/// A broker of one's own, which may be killed.
///
/// RabbitMQ 3.10 forgets which streams it has when it is killed within a second
/// of making its first one: it writes down that there are any every half second.
pub(crate) async fn alone(recipe: &Recipe) -> Result<AmqpWorld, Absent> {
    let world = AmqpWorld::open(start(recipe)?).await?;
    world.make_a_stream("first").await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    Ok(world)
}

pub(crate) fn start(recipe: &Recipe) -> Result<Arc<RabbitMq>, Absent> {
    rabbitmq(recipe).map(Arc::new)
}

/// Opens a handle as a process does that means it.
pub(crate) async fn open(url: &str, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
    let options = AmqpOptions::parse(url)?.with_namespace(namespace.clone()).with_history(HISTORY);
    AmqpRegistry::open(options, Arc::new(SystemClock)).await
}
