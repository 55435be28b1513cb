//! What a broker can do to those who use it.

use std::time::{Duration, Instant};

use conformance_tests::own::{Outcome, check, within};
use conformance_tests::servers::{Recipe, rabbitmq};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::{Connection, ConnectionProperties};
use portolan::call::{Call, CallError, Caller, Peer as To, Reply};
use portolan::h2::{AmqpCaller, Broker, CallerOptions};
use portolan::{Address, ServiceName};

use super::{Echo, Instance, Place, url};

const SERVICE: &str = "com.hailocab.service.hardy";

/// Calls one instance.
struct Calling {
    caller: AmqpCaller,
    address: Address,
}

impl Calling {
    fn of(instance: &Instance, url: &str) -> Result<Self, Outcome> {
        let caller = AmqpCaller::new(Broker::parse(url)?, CallerOptions::default());
        Ok(Self { caller, address: Address::parse(&format!("amqp:{}", instance.queue()))? })
    }

    async fn call(&self, timeout: Duration) -> Result<Reply, CallError> {
        let service = ServiceName::parse(SERVICE).expect("a name");
        let call = Call::new(service, "echo", b"x".as_slice().into()).with_timeout(timeout);
        self.caller.call(To::at(&self.address), call).await
    }
}

pub(super) async fn a_broker_that_takes_nothing_says_so_at_once(_: &Place) -> Result<(), Outcome> {
    let broker = rabbitmq(&Recipe::default())?;
    let instance = Instance::serve(&broker, SERVICE, Echo::default()).await?;
    let calling = Calling::of(&instance, &url(&broker))?;
    check(calling.call(Duration::from_secs(5)).await.is_ok(), "it cannot be called")?;
    broker.control(&["set_disk_free_limit", "900000000000000"])?;
    // The first to publish finds out, the others are told.
    for _ in 0..2 {
        #[allow(clippy::disallowed_methods)] // The broker's time is nobody's to turn.
        let before = Instant::now();
        let error = calling.call(Duration::from_secs(20)).await.err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        let took = before.elapsed();
        check(text.contains("takes no messages"), format_args!("{text:?} after {took:?}"))?;
        check(took < Duration::from_secs(1), format_args!("it took {took:?} to say so"))?;
    }
    broker.control(&["set_disk_free_limit", "50000000"])?;
    let works = || async { Ok(calling.call(Duration::from_secs(2)).await.is_ok()) };
    within(Duration::from_secs(5), "it takes messages again", works).await
}

pub(super) async fn what_is_deleted_behind_our_back_is_there_again(
    _: &Place,
) -> Result<(), Outcome> {
    let broker = rabbitmq(&Recipe::default())?;
    let instance = Instance::serve(&broker, SERVICE, Echo::default()).await?;
    let at = url(&broker);
    let calling = Calling::of(&instance, &at)?;
    let works = || async { Ok(calling.call(Duration::from_secs(1)).await.is_ok()) };
    let broken = |error: lapin::Error| Outcome::Broken(error.to_string());
    let connecting = Connection::connect(&at, ConnectionProperties::default());
    let connection = connecting.await.map_err(broken)?;
    let channel = connection.create_channel().await.map_err(broken)?;
    let queue = instance.queue();
    let plain = QueueDeleteOptions::default();
    channel.queue_delete((&*queue).into(), plain).await.map_err(broken)?;
    within(Duration::from_secs(5), "its queue was deleted", works).await?;
    let plain = ExchangeDeleteOptions::default();
    channel.exchange_delete("h2o.direct".into(), plain).await.map_err(broken)?;
    within(Duration::from_secs(12), "the exchange was deleted", works).await
}
