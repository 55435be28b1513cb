//! Calls through a broker, as H2 makes them, behind a proxy.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use conformance_tests::calls::{Need, Wire, WireWorld};
use conformance_tests::servers::{RabbitMq, Recipe, rabbitmq};
use conformance_tests::{Absent, Failure};
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use portolan::call::{Caller, Handler, Host};
use portolan::h2::{AmqpCaller, AmqpHost, Broker, CallerOptions, HostOptions};
use portolan::{ServiceName, Target};

use super::proxy::Proxy;

/// H2 over one broker that all cases share.
#[derive(Debug, Default)]
pub(crate) struct AmqpWire {
    shared: OnceLock<Result<Arc<RabbitMq>, Absent>>,
}

struct AmqpWorld {
    broker: Arc<RabbitMq>,
    proxy: Proxy,
    caller: Arc<AmqpCaller>,
}

impl AmqpWorld {
    fn url(&self) -> Result<Broker, Failure> {
        Ok(Broker::parse(&format!("amqp://guest:guest@{}/", self.proxy.address))?)
    }
}

#[async_trait]
impl Wire for AmqpWire {
    fn name(&self) -> &str {
        "h2"
    }

    fn has(&self, _: Need) -> bool {
        true
    }

    async fn open(&self) -> Result<Box<dyn WireWorld>, Absent> {
        let absent = |error: std::io::Error| Absent(error.to_string());
        let broker = self.shared.get_or_init(|| rabbitmq(&Recipe::default()).map(Arc::new));
        let broker = broker.clone()?;
        let proxy = Proxy::start(broker.address()).await.map_err(absent)?;
        let url = format!("amqp://guest:guest@{}/", proxy.address);
        let parsed = Broker::parse(&url).map_err(|error| Absent(error.to_string()))?;
        let caller = Arc::new(AmqpCaller::new(parsed, CallerOptions::default()));
        Ok(Box::new(AmqpWorld { broker, proxy, caller }))
    }
}

#[async_trait]
impl WireWorld for AmqpWorld {
    async fn serve(
        &self,
        service: ServiceName,
        handler: Arc<dyn Handler>,
        max_inflight: usize,
    ) -> Result<Box<dyn Host>, Failure> {
        let options = HostOptions::default().with_max_inflight(max_inflight);
        Ok(Box::new(AmqpHost::serve(service, self.url()?, handler, options).await?))
    }

    fn caller(&self) -> Arc<dyn Caller> {
        Arc::<AmqpCaller>::clone(&self.caller)
    }

    async fn cut(&self) {
        self.proxy.cut();
    }

    /// H2's own publisher says none of what is ours; one of tomorrow says more than
    /// anybody knows.
    async fn other_versions(&self, host: &dyn Host) -> Result<(), Failure> {
        let offers = host.offers();
        let Target::Queue(queue) = offers[0].addresses[0].target() else {
            return Err(Failure::new("the host has no queue"));
        };
        let url = format!("amqp://guest:guest@{}/%2f", self.broker.address());
        let plain = [("messageType", "request"), ("service", "Probe"), ("endpoint", "echo")];
        let newer = [("portolan-tomorrow", "1"), ("x-unheard-of", "2")];
        let newer: Vec<_> = plain.iter().chain(&newer).copied().collect();
        for (headers, odd) in [(&plain[..], false), (&newer[..], true)] {
            let body = ask(&url, queue, headers, odd).await;
            let body = body.map_err(|error| Failure::new(error.to_string()))?;
            if body.as_deref() != Some(b"probe") {
                return Err(Failure::new(format!("{headers:?} was answered {body:?}")));
            }
        }
        Ok(())
    }
}

/// Publishes a request as another program does, and returns the body of its reply.
async fn ask(
    url: &str,
    queue: &str,
    headers: &[(&str, &str)],
    odd: bool,
) -> lapin::Result<Option<Vec<u8>>> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let own = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let (reply_to, none) = ("client-of-another-kind", FieldTable::default);
    channel.queue_declare(reply_to.into(), own, none()).await?;
    let bound = QueueBindOptions::default();
    channel
        .queue_bind(reply_to.into(), "h2o.direct".into(), reply_to.into(), bound, none())
        .await?;
    let taken = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut replies = channel.basic_consume(reply_to.into(), "".into(), taken, none()).await?;
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert((*name).into(), AMQPValue::LongString((*value).into()));
    }
    if odd {
        table.insert("portolan-flags".into(), AMQPValue::LongLongInt(7));
    }
    let properties = BasicProperties::default()
        .with_content_type("application/octetstream".into())
        .with_message_id(if odd { "odd" } else { "plain" }.into())
        .with_reply_to(reply_to.into())
        .with_headers(table);
    let plain = BasicPublishOptions::default();
    channel.basic_publish("h2o.direct".into(), queue.into(), plain, b"probe", properties).await?;
    match tokio::time::timeout(Duration::from_secs(5), replies.next()).await {
        Ok(Some(delivery)) => Ok(Some(delivery?.data)),
        Ok(None) | Err(_) => Ok(None),
    }
}
